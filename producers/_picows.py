"""The ``picows`` transport: a quarter of the cost per frame. Optional; see ``_transport.py`` for the behaviour."""

from __future__ import annotations

import asyncio

from picows import WSAutoPingStrategy, WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from producers._transport import OPEN_S_MAX, ConnectError, Link, OnFrame


class _Picows(WSListener):
    def __init__(self, on_frame: OnFrame, frame_bytes_max: int) -> None:
        self.activity = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_frame, self._bytes_max = on_frame, frame_bytes_max
        self._parts: list[bytes] = []
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._gone = asyncio.ensure_future(self._end(transport))

    async def _end(self, transport: WSTransport) -> None:
        reason = "closed by the server"
        try:
            await transport.wait_disconnected()
        except WSError as error:
            reason = str(error)
        if not self.ended.done():
            self.ended.set_result(reason)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.payload_size > self._bytes_max:
            return  # picows hands it out once more while it closes the connection because of it
        self.activity += 1
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin:
            self._on_frame(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._piece(frame)
        elif kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def _piece(self, frame: WSFrame) -> None:
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > self._bytes_max:
            self._parts.clear()
            self.close()
        elif frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._on_frame(whole)

    def send(self, text: bytes) -> None:
        if self._transport is not None and not self.ended.done():
            self._transport.send(WSMsgType.TEXT, text)

    def ping(self) -> None:
        if self._transport is not None and not self.ended.done():
            self._transport.send_ping()

    def close(self) -> None:
        if self._transport is not None and not self.ended.done():
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()


async def connect_picows(url: str, on_frame: OnFrame, frame_bytes_max: int) -> Link:
    """A link over the ``picows`` package."""
    try:
        async with asyncio.timeout(OPEN_S_MAX):
            _, link = await ws_connect(
                lambda: _Picows(on_frame, frame_bytes_max),
                url,
                websocket_handshake_timeout=OPEN_S_MAX,
                max_frame_size=frame_bytes_max,
                max_redirects=0,
                enable_auto_ping=False,
                auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            )
    except WSError as error:
        raise ConnectError(str(error)) from error
    assert isinstance(link, _Picows)
    return link
