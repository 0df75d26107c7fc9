"""One client's socket, written to directly: a frame is encoded once, whoever gets it."""

from __future__ import annotations

import socket
import struct
from asyncio import Transport

from simulator._frame import CLOSE, frame
from simulator._venue import Feed, Session

BUFFER_MAX = 8_000_000
"""Bytes waiting for a slow client, beyond which it is disconnected, as exchanges do."""


class Connection:
    """One WebSocket: frames are gathered over a turn and written at once."""

    def __init__(self, transport: Transport, session: Session, now_s: float) -> None:
        self.session = session
        self.feeds: dict[str, Feed] = {}
        self.pong_s = self.pinged_s = now_s
        self.ends_s = float("inf")
        self.stamps = type(session).stamp is not Session.stamp
        self._transport = transport
        self._pending: list[bytes] = []

    def queue(self, data: bytes) -> None:
        """Have a frame sent with the next flush."""
        self._pending.append(data)

    def flush(self) -> bool:
        """Write what is queued; false when the client is too slow and has been cut off."""
        if self._transport.is_closing():
            self._pending.clear()
            return True
        if self._pending:
            self._transport.write(b"".join(self._pending))
            self._pending.clear()
        if self._transport.get_write_buffer_size() > BUFFER_MAX:
            self.abort()
            return False
        return True

    def close(self, code: int) -> None:
        """Send what is queued and a close frame, then hang up."""
        self.queue(frame(struct.pack("!H", code), CLOSE))
        if self.flush():
            self._transport.close()

    def abort(self) -> None:
        """Reset the connection: the client sees no closing handshake."""
        reset(self._transport)


def reset(transport: Transport) -> None:
    """Drop a connection with a TCP reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
