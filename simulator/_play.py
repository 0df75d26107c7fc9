"""A recorded file served as the exchange it was made of: the same paths, the same frames, the same breaks.

Each lane of the recording is for one client at a time, from its first subscription on. Frames come at the pace at which
they came in, times ``speed``; a client that stays away finds its lane where it was left. Where a recorded socket ended
the client's is closed, and when it comes again it gets the next one.
"""

from __future__ import annotations

import asyncio
from asyncio import Transport
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import WSMsgType, web

from schemas.recordings import Frame
from simulator._frame import frame
from simulator._recorded import Recorded, Strand

FRAME_MAX = 1 << 20
BUFFER_MAX = 1_000_000
AT_ONCE = 200
AWAY_S_MAX = 10.0
"""All that was asked for is played, and nobody came for the rest: the end."""


class Lane:
    """The sockets of one lane, one after the other."""

    def __init__(self, strands: list[Strand]) -> None:
        self.path = strands[0].at_path
        self.taken = False
        self._waiting = [strand for strand in strands if strand.count]
        self._frames: Iterator[Frame] = iter(())
        self._next: Frame | None = None
        self.following()

    def following(self) -> None:
        """Go to the next socket."""
        self._frames = self._waiting.pop(0).frames() if self._waiting else iter(())
        self._next = next(self._frames, None)

    @property
    def over(self) -> bool:
        """Whether nothing is left, of any socket."""
        return self._next is None and not self._waiting

    @property
    def at(self) -> int | None:
        """When the next frame of this socket came in, µs; None where it has ended."""
        return None if self._next is None else self._next.received

    def take(self, until: int, most: int) -> list[bytes]:
        """Frames that came in by ``until``, at most so many."""
        taken: list[bytes] = []
        while self._next is not None and self._next.received <= until and len(taken) < most:
            taken.append(self._next.raw)
            self._next = next(self._frames, None)
        return taken


class Playback:
    """Serves one recording. ``speed`` 0 is as fast as clients read."""

    def __init__(
        self, recorded: Recorded, speed: float, *, monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.recorded, self._speed, self._monotonic, self._sleep = recorded, speed, monotonic, sleep
        self.lanes = [Lane(strands) for _, strands in sorted(recorded.lanes.items())]
        self.sent = self.refused = 0
        self._began = -1.0
        self._clients = 0
        self._changed_at = monotonic()

    def application(self) -> web.Application:
        """The routes: whatever paths the recording has."""
        app = web.Application(client_max_size=FRAME_MAX)
        app.router.add_route("*", "/{path:.*}", self._on_request)
        return app

    def is_over(self) -> bool:
        """Whether all was sent; or all that anybody came for, and nobody came for some time."""
        if all(lane.over for lane in self.lanes):
            return not self._clients
        quiet = self._monotonic() - self._changed_at > AWAY_S_MAX
        return quiet and self.sent > 0 and not self._clients

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path or "/"
        if request.headers.get("Upgrade", "").lower() != "websocket":
            asked = (await request.read()).decode("utf-8", "replace")
            body = self.recorded.answers.get((path, asked))
            if body is None:
                return web.json_response({"error": "not in the recording"}, status=404)
            return web.Response(body=body, content_type="application/json")
        at_path = [lane for lane in self.lanes if lane.path == path]
        if not at_path:
            return web.json_response({"error": "no socket of the recording has this path"}, status=404)
        lane = next((lane for lane in at_path if not lane.taken and not lane.over), None)
        if lane is None:
            self.refused += 1
            return web.json_response({"error": "nothing left of this path, or others are served it"}, status=503)
        lane.taken = True
        self._clients += 1
        try:
            return await self._converse(request, lane)
        finally:
            lane.taken = False
            self._clients -= 1
            self._changed_at = self._monotonic()

    async def _converse(self, request: web.Request, lane: Lane) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=FRAME_MAX)
        await socket.prepare(request)
        sending: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                if sending is None and message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    sending = asyncio.create_task(self._send(socket, cast(Transport, request.transport), lane))
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        return socket

    async def _send(self, socket: web.WebSocketResponse, transport: Transport, lane: Lane) -> None:
        """The rest of the lane's present socket, then its end."""
        if self._began < 0:
            self._began = self._monotonic()
        while lane.at is not None and not transport.is_closing():
            if transport.get_write_buffer_size() > BUFFER_MAX:
                await self._sleep(0.002)
                continue
            if (wait_s := self._due_s(lane.at)) > 0:
                await self._sleep(min(wait_s, 1.0))
                continue
            frames = lane.take(self._now(), AT_ONCE)
            transport.write(b"".join(map(frame, frames)))
            self.sent += len(frames)
            self._changed_at = self._monotonic()
            await self._sleep(0)
        if lane.at is None:
            lane.following()
            await socket.close(code=1001, message=b"the recorded socket ended here")

    def _now(self) -> int:
        """The moment of the recording, µs."""
        if not self._speed:
            return self.recorded.last
        return self.recorded.first + int((self._monotonic() - self._began) * self._speed * 1e6)

    def _due_s(self, at: int) -> float:
        """How long until a frame is due."""
        if not self._speed:
            return 0.0
        return (at - self._now()) / 1e6 / self._speed


@asynccontextmanager
async def serve(playback: Playback, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """The playback on a port, a free one where it is 0. Raises OSError for a port in use."""
    runner = web.AppRunner(playback.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
