"""One engine at work: reads, folds, flushes, snapshots."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from redis.asyncio import Redis

from schemas.names import WORD
from schemas.settings import Settings
from signals._archive import Archive
from signals._board import Board
from signals._candle import CandleDamaged
from signals._core import Core
from signals._decode import Message
from signals._grid import Grids
from signals._publish import Letter, Publisher
from signals._redis import Watermark, Writer
from signals._registry import Registry
from signals._snapshot import SnapshotUnusable
from signals._state import Spans
from signals._stream import Reader, StreamFacts

_log = structlog.get_logger()
BATCH = 5_000
"""Messages folded at once, at most."""
FRESH_MAX = 20_000
"""Closed candles that may wait in memory for a snapshot."""
REGISTRY_WAIT_S, REGISTRY_EVERY_S, LIVE_EVERY_S = 5.0, 60.0, 1.0
STREAM = WORD["trade"].stream


class Worker:
    """Everything of one engine; ``run`` may be called again when the stream was replaced."""

    def __init__(
        self, settings: Settings, spans: Spans, names: tuple[str, ...], path: Path, watermark_key: str,
        nats: Client, redis: Redis, health: dict[str, Any], wall: Callable[[], int], monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._config, self._health = settings.signals, health
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep
        self._nats = nats
        self._archive = Archive(path, self._config.closed)
        self._registry = Registry(nats)
        self._publisher = Publisher(nats, monotonic)
        self._writer = Writer(redis, watermark_key, self._config.closed)
        self._build(spans, names)
        self._flush_s = self._config.flush / 1e6
        self._due = dict.fromkeys(("flush", "snapshot", "registry", "live"), 0.0)
        self._watermark = Watermark(0, "")

    def _build(self, spans: Spans, names: tuple[str, ...]) -> None:
        """An engine with nothing in it."""
        self.core = Core(self._config, spans, Grids(self._config.row, self._registry.pins.append), self._archive)
        self._board = Board(self.core, self._writer, names)

    async def run(self, found: StreamFacts, stop: asyncio.Event) -> None:
        """Work until ``stop``. Raises StreamReplaced."""
        self._watermark = await self._begin(found)
        await self._know_instruments()
        self._board.everything()
        self._board.wait_for = await self._writer.watermark()
        reader = Reader(self._nats, STREAM, found.created, self._watermark.sequence)
        now = self._monotonic()
        self._due = {"flush": now, "snapshot": now + self._config.snapshot / 1e6, "registry": now + 60, "live": now}
        try:
            while not stop.is_set():
                wait = max(self._due["flush"] - self._monotonic(), 0.0)
                messages = await reader.take(min(wait, self._flush_s), BATCH)
                if messages:
                    await self._apply(messages, stop)
                await self._housekeeping(reader)
            await self._finish()
        finally:
            await reader.close()

    async def _begin(self, found: StreamFacts) -> Watermark:
        """Where to go on: the snapshot's watermark if it is of this stream, else the stream's beginning."""
        stored = self._recalled()
        if stored.created == found.created and found.first - 1 <= stored.sequence <= found.last:
            return stored
        if stored.created:
            self._health["holes"] = self._health.get("holes", 0) + 1
            _log.error("snapshot_beside_stream", sequence=stored.sequence, first=found.first, last=found.last)
        return Watermark(max(found.first - 1, 0), found.created)

    def _recalled(self) -> Watermark:
        """The watermark of what is in memory, from the archive after a start."""
        if self._watermark.created:
            return self._watermark
        try:
            return self.core.recall() or Watermark(0, "")
        except (SnapshotUnusable, CandleDamaged, msgspec.DecodeError, ValueError) as error:
            self._archive.start_over(str(error))
            self._build(self.core.state.spans, self._board.names)
            return Watermark(0, "")

    async def _know_instruments(self) -> None:
        """Give the registry a moment to be filled before grids are guessed."""
        until = self._monotonic() + REGISTRY_WAIT_S
        while not await self._registry.read(self.core.grids) and self._monotonic() < until:
            await self._sleep(0.25)
        self._registry_until = until

    async def _apply(self, messages: list[Message], stop: asyncio.Event) -> None:
        """Fold messages, then publish what closed."""
        before = len(self.core.state.symbols)
        columns = self.core.decode(messages)
        await self._new_symbols(before)
        self.core.fold(columns)
        self._watermark = Watermark(messages[-1].sequence, self._watermark.created)
        closed, self.core.ledger.outgoing = self.core.ledger.outgoing, []
        await self._publisher.send([Letter(*self._board.footprints.message(*each)) for each in closed], stop)

    async def _new_symbols(self, before: int) -> None:
        """Wait, soon after the start, for the instruments of symbols seen for the first time."""
        new, grids = self.core.state.symbols[before:], self.core.grids
        while not all(grids.knows(*who) for who in new) and self._monotonic() < self._registry_until:
            await self._sleep(0.25)
            await self._registry.read(grids)

    async def _housekeeping(self, reader: Reader) -> None:
        now = self._monotonic()
        if now >= self._due["flush"]:
            self._due["flush"] = now + self._flush_s
            await self._board.flush(self._watermark, now)
        if now >= self._due["live"]:
            self._due["live"] = now + LIVE_EVERY_S
            await self._board.live(self._wall())
            self._report(reader)
        if now >= self._due["snapshot"] or self.core.ledger.fresh_count() > FRESH_MAX:
            self._due["snapshot"] = now + self._config.snapshot / 1e6
            await self.snapshot()
        if now >= self._due["registry"] or self._registry.pins:
            self._due["registry"] = now + REGISTRY_EVERY_S
            await self._registry.write()
            await self._registry.read(self.core.grids)

    async def snapshot(self) -> None:
        """Store the state whole; skipped while closed candles are not safely published."""
        if not await self._publisher.settle(5.0):
            _log.warning("snapshot_skipped", reason="closed candles not acknowledged yet")
            return
        try:
            await asyncio.to_thread(self.core.store, self._watermark)
        except sqlite3.Error as error:
            self._health["archive_error"] = str(error)
            _log.error("snapshot_failed", reason=str(error))
        else:
            self._health["archive_error"] = ""

    async def _finish(self) -> None:
        """Leave nothing behind: keys, acknowledgements and snapshot reach what was read."""
        await self._board.flush(self._watermark, self._monotonic(), last=True)
        await self.snapshot()

    def _report(self, reader: Reader) -> None:
        self._health.update(
            state="running", sequence=self._watermark.sequence, lag=reader.pending, missing=reader.missing,
            published=self._publisher.published, redis_error=self._writer.error, flushes=self._board.flushes,
            rewrites=self._board.rewrites, behind=self._board.behind, **self.core.counters(),
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._publisher.close()
        await self._writer.close()
        self._archive.close()
