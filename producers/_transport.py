"""The socket boundary: connect, frame in, send, close. Two implementations with one behaviour.

Frames come in through a plain call, so that a burst costs no await a message. A frame above the bound closes the
connection; memory never follows what a server sends.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

OPEN_S_MAX = 10.0
OnFrame = Callable[[bytes], None]


class ConnectError(ConnectionError):
    """The connection could not be opened."""


class Link(Protocol):
    """An open socket."""

    activity: int
    """Counts everything that arrived, pongs included: what does not move is half open."""
    ended: asyncio.Future[str]
    """Done with the reason once the socket is closed, whoever closed it."""

    def send(self, text: bytes) -> None:
        """Send a text frame; nothing happens on a closed link."""

    def ping(self) -> None:
        """Send a WebSocket ping."""

    def close(self) -> None:
        """Close now; ``ended`` follows."""


Connect = Callable[[str, OnFrame, int], Awaitable[Link]]
"""``connect(url, on_frame, frame_bytes_max)``; raises OSError or TimeoutError where it cannot open."""


def transport(name: Literal["websockets", "picows"]) -> Connect:
    """The implementation of that name. Raises ImportError where picows is not installed."""
    if name == "websockets":
        return connect_websockets
    from producers._picows import connect_picows  # an optional dependency

    return connect_picows


class _Websocket(asyncio.Protocol):
    """``websockets``' protocol without its I/O: its queues and tasks would cost more than the parsing."""

    def __init__(self, url: str, on_frame: OnFrame, frame_bytes_max: int) -> None:
        loop = asyncio.get_running_loop()
        self.activity = 0
        self.ended: asyncio.Future[str] = loop.create_future()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._wire = ClientProtocol(parse_uri(url), max_size=frame_bytes_max)
        self._on_frame = on_frame
        self._parts: list[bytes] = []
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        self._wire.send_request(self._wire.connect())
        self._push()

    def data_received(self, data: bytes) -> None:
        self.activity += 1
        self._wire.receive_data(data)
        on_frame = self._on_frame
        for event in self._wire.events_received():
            if type(event) is Frame:
                if event.opcode is Opcode.TEXT and event.fin:
                    on_frame(bytes(event.data))
                else:
                    self._piece(event)
            elif not self.opened.done() and self._wire.handshake_exc is None:
                self.opened.set_result(None)
        self._push()
        if self._wire.handshake_exc is not None and not self.opened.done():
            self.opened.set_exception(ConnectError(str(self._wire.handshake_exc)))
        if self._wire.close_expected() or self._wire.state is State.CLOSED:
            self.close()

    def _piece(self, frame: Frame) -> None:
        """Binary and fragmented messages; the protocol bounds the sum of the fragments."""
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._parts.append(bytes(frame.data))
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._on_frame(whole)

    def eof_received(self) -> None:
        self._wire.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._wire.close_reason or (str(exc) if exc else "") or f"closed by the server ({self._code()})"
        if not self.opened.done():
            self.opened.set_exception(ConnectError(reason))
        if not self.ended.done():
            self.ended.set_result(reason)

    def _code(self) -> int | None:
        return self._wire.close_code if self._wire.state is State.CLOSED else None

    def send(self, text: bytes) -> None:
        if self._wire.state is State.OPEN:
            self._wire.send_text(text)
            self._push()

    def ping(self) -> None:
        if self._wire.state is State.OPEN:
            self._wire.send_ping(b"")
            self._push()

    def close(self) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        if self._wire.state is State.OPEN:
            self._wire.send_close(1000)
            self._push()
        self._socket.close()

    def _push(self) -> None:
        socket = self._socket
        for data in self._wire.data_to_send():
            if socket is not None and not socket.is_closing() and data:
                socket.write(data)


async def connect_websockets(url: str, on_frame: OnFrame, frame_bytes_max: int) -> Link:
    """A link over the ``websockets`` package."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    loop = asyncio.get_running_loop()
    link: _Websocket | None = None
    try:
        async with asyncio.timeout(OPEN_S_MAX):
            _, link = await loop.create_connection(
                lambda: _Websocket(url, on_frame, frame_bytes_max),
                parts.hostname or "",
                parts.port or (443 if secure else 80),
                ssl=ssl.create_default_context() if secure else None,
            )
            await link.opened
    except (OSError, TimeoutError, InvalidHandshake):
        if link is not None:
            link.close()
        raise
    return link
