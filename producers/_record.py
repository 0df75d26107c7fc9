"""``flowtape record``: what an exchange sends, written down as it comes, over the connections producers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec
import structlog

from producers._connection import Connection, Surroundings, alternates, backoff_s
from producers._exchange import Channel, NoProducer, Request, Setup, directory, load
from producers._feeds import Feeds
from producers._plan import ALL, options, ranked, sockets
from producers._polling import Polling
from producers._registry import fetch, near, volumes
from producers._rest import Asking, RestClient, RestError
from producers._transport import Link, OnFrame
from schemas import time
from schemas.events import Event
from schemas.recordings import Answer, Note, Recording, Socket, frame_line, note_line
from schemas.settings import ConfigError, ExchangeSettings, Settings

FLUSH_S = 1.0
INSTRUMENTS_TRIES = 3
log = structlog.get_logger()


def own_path(url: str, override: str) -> str:
    """Path and query of a URL as the exchange has them, without what an override put before them."""
    if override:
        return url.removeprefix(override.rstrip("/")) or "/"
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class Recorder:
    """Lines into ``out``, at most ``bytes_max`` of them; ``over`` is set when there is no more room, or no disk."""

    def __init__(self, out: IO[bytes], bytes_max: int) -> None:
        self._out, self.bytes_max = out, bytes_max
        self.over = asyncio.Event()
        self.reason = ""
        self.frames = self.bytes = self.sockets = 0
        self.first = self.last = 0
        self.kinds: dict[str, int] = {}
        self.received = 0
        """When the frame that is being worked on came in."""

    def note(self, note: Note) -> None:
        """Write what is no frame."""
        self._write(note_line(note))

    def frame(self, received: int, socket: int, raw: bytes) -> None:
        """Write a frame."""
        if self._write(frame_line(received, socket, raw)):
            self.frames, self.first, self.last = self.frames + 1, self.first or received, received

    def _write(self, line: bytes) -> bool:
        if self.over.is_set():
            return False
        if self.bytes + len(line) > self.bytes_max:
            self._end("the limit is reached")
            return False
        try:
            self._out.write(line)
        except OSError as error:
            self._end(f"cannot write: {error.strerror or error}")
            return False
        self.bytes += len(line)
        return True

    def flush(self) -> None:
        """Hand everything to the system."""
        try:
            self._out.flush()
        except OSError as error:
            self._end(f"cannot write: {error.strerror or error}")

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.over.set()

    # --- a sink, for what the frames mean --------------------------------------------------------------------------
    def add(self, event: Event) -> None:
        """Count it: it is in its frame."""
        kind = type(event).__name__.lower()
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def dead(self, kind: str, exchange: str, data: bytes, reason: str, origin: str) -> None:
        """A frame nobody understands is recorded like any other."""

    def tapped(self, around: Surroundings, lane: int, override: str, numbers: count[int]) -> Surroundings:
        """Surroundings in which a connection's frames are written before it sees them, with the same time."""

        async def connect(url: str, on_frame: OnFrame, bytes_max: int) -> Link:
            number = next(numbers)
            clock = around.clock

            def tap(raw: bytes) -> None:
                self.received = clock()
                self.frame(self.received, number, raw)
                on_frame(raw)

            # Before it is open: frames may come with the handshake's answer.
            self.note(Socket(clock(), number, lane, own_path(url, override)))
            link = await around.connect(url, tap, bytes_max)
            self.sockets += 1
            return link

        return around._replace(connect=connect, clock=lambda: self.received)


class _Told:
    """REST whose answers are written down."""

    def __init__(self, rest: Asking, recorder: Recorder, about: str, clock: Callable[[], int]) -> None:
        self._rest, self._recorder, self._about, self._clock = rest, recorder, about, clock

    async def get(self, request: Request, *, share: float = 1.0) -> bytes:
        """The same. Raises RestError."""
        body = await self._rest.get(request, share=share)
        text, asked = body.decode("utf-8", "replace"), request.body.decode("utf-8", "replace")
        path = own_path(request.url, "")
        self._recorder.note(Answer(self._clock(), self._about, path, text, asked, request.symbol))
        return body


class Take:
    """One recording of one exchange. Raises ConfigError for what there is not to be recorded."""

    def __init__(self, exchange: str, settings: Settings, recorder: Recorder, around: Surroundings) -> None:
        try:
            self._declared = load(exchange)
        except NoProducer as error:
            raise ConfigError("configuration", f"exchanges.{exchange}", "there is no producer for it") from error
        self._id, self._recorder, self._around = exchange, recorder, around
        self._its = settings.exchanges.get(exchange) or ExchangeSettings()
        wanted = self._its.channels or list(self._declared.channels)
        self._channels: Mapping[str, Channel] = {w: c for w, c in self._declared.channels.items() if w in wanted}
        self._directory = directory(self._declared, exchange)
        self._setup = Setup(exchange, Feeds(self._directory), options(self._its, settings, self._channels))
        self._folder = Path(settings.data_dir) / "budget"
        if not any(channel.topics for channel in self._channels.values()):
            raise ConfigError("configuration", f"exchanges.{exchange}.channels", "none of them comes over a socket")

    async def run(self) -> None:
        """Record until told to stop, or there is no more room. Raises ConfigError where a symbol does not exist."""
        around, recorder = self._around, self._recorder
        shapes = msgspec.to_builtins(self._setup.options)
        recorder.note(Recording(self._id, around.clock(), shapes))
        rest = RestClient(
            self._declared.rest, self._its.rest_url, self._folder, clock=around.clock, sleep=around.sleep
        )  # fmt: skip
        try:
            ranks = await around.heed(self._learn(rest)) or {}
            if around.stop.is_set():
                return
            natives = self._natives(ranks)
            async with asyncio.TaskGroup() as tasks:
                works = self._works(natives, rest)
                for work in works:
                    tasks.create_task(work)
                tasks.create_task(self._flush())
        finally:
            recorder.flush()
            await rest.close()

    async def _learn(self, rest: RestClient) -> dict[str, float]:
        """Instruments, and how they rank where all of them are wanted. Without REST the naming rule has to do."""
        around, stop = self._around, self._around.stop
        for attempt in range(1, INSTRUMENTS_TRIES + 1):
            try:
                told = _Told(rest, self._recorder, "instruments", around.clock)
                self._directory.learn(await fetch(self._declared, self._id, told))
                self._directory.complete = True
                return await volumes(self._declared, rest) if ALL in self._its.symbols else {}
            except RestError as error:
                log.warning("instruments_unavailable", exchange=self._id, error=str(error)[:300])
            if stop.is_set():
                break
            await around.pause(backoff_s(attempt, around.rng))
        return {}

    def _natives(self, ranks: Mapping[str, float]) -> list[str]:
        if ALL in self._its.symbols:
            return ranked(self._directory, ranks, [], self._its.max_symbols)
        found = []
        for name in self._its.symbols:
            native = self._directory.native(name)
            if native is None:
                like = near(name, self._directory)
                hint = f", near are {', '.join(like)}" if like else ""
                raise ConfigError("configuration", f"exchanges.{self._id}.symbols", f"no {name!r}{hint}")
            found.append(native)
        return list(dict.fromkeys(found))

    def _works(self, natives: list[str], rest: RestClient) -> list[Coroutine[Any, Any, None]]:
        """Connections and, beside them, what sessions have to know from REST."""
        around, numbers = self._around, count(1)
        works: list[Coroutine[Any, Any, None]] = []
        planned = sockets(self._declared, self._channels, self._setup, natives, self._its.ws_url)
        for lane, (url, topics) in enumerate(planned, 1):
            its = self._recorder.tapped(around, lane, self._its.ws_url, numbers)
            others = [] if self._its.ws_url else alternates(self._declared, url)
            delay_s = (lane - 1) / self._declared.limits.connects_per_s
            works.append(
                Connection(self._declared, self._setup, url, topics, self._recorder, its, delay_s, others).run()
            )
        for word, channel in self._channels.items():
            if channel.knowledge is not None:
                every_us = int(channel.knowledge.every_s * time.SECOND) or self._setup.options.funding_every
                told = _Told(rest, self._recorder, word, around.clock)
                knowledge = Polling(
                    word, channel.knowledge, self._setup, lambda: natives, every_us, told, self._recorder, around
                )
                works.append(around.heed(knowledge.run()))
        return works

    async def _flush(self) -> None:
        """Once a second, so that a kill costs no more; and the end when there is no more room."""
        stop = self._around.stop
        while not stop.is_set():
            await self._around.pause(FLUSH_S)
            self._recorder.flush()
            if self._recorder.over.is_set():
                stop.set()
