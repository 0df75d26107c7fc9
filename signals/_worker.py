"""One engine at work: reads, folds, flushes, snapshots."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client
from redis.asyncio import Redis

from schemas import time
from schemas.instruments import Instrument
from schemas.names import WORD
from schemas.settings import Settings
from signals import footprint
from signals._archive import MINUTES_KEPT, Archive
from signals._board import DETECTIONS, Board
from signals._catch_up import CatchUp
from signals._core import Core
from signals._decode import Message
from signals._gap_feed import GapFeed
from signals._grid import Grids
from signals._jetstream import StreamFacts
from signals._partition import Part
from signals._publish import Letter, Publisher
from signals._published import Published
from signals._redis import Watermark, Writer
from signals._registry import Registry
from signals._start import Covered, Starter
from signals._state import Spans
from signals._stream import Reader
from signals._tables import Tables

_log = structlog.get_logger()
BATCH = 5_000
"""Messages folded at once, at most."""
FRESH_MAX = 5_000
"""Closed candles that may wait in memory for a snapshot."""
REGISTRY_WAIT_S, REGISTRY_EVERY_S, PINS_EVERY_S, LIVE_EVERY_S, CATCH_UP_EVERY_S = 5.0, 60.0, 5.0, 1.0, 2.0
REDIS_AWAY_S = 1.0
GAPS_WAIT_S = 5.0
STREAM = WORD["trade"].stream


def _forget(_pin: Instrument) -> None:
    """Pin nothing."""


class Worker:
    """Everything of one engine; ``run`` may be called again when the stream was replaced."""

    def __init__(
        self, settings: Settings, spans: Spans, names: tuple[str, ...], part: Part, path: Path, watermark_key: str,
        nats: Client, redis: Redis, health: dict[str, Any], wall: Callable[[], int], monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._config, self._health = settings.signals, health
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep
        self._nats = nats
        self._part = part
        longest = max(map(time.duration, self._config.profile.rolling), default=0)
        self._archive = Archive(path, self._config.closed, max(MINUTES_KEPT, longest + 2 * time.HOUR))
        self._registry = Registry(nats)
        # rows that a replay chooses are its own affair
        self._grids = Grids(
            self._config.row, _forget if getattr(nats, "is_replay", False) else self._registry.pins.append
        )
        self._publisher = Publisher(nats, monotonic)
        self._writer = Writer(redis, watermark_key, self._config.closed)
        self._tables = Tables(settings.questdb.pg)
        self._spans, self._names = spans, names
        self._flush_s = self._config.flush / 1e6
        self._watermark = Watermark(0, "")

    def _build(self) -> Core:
        """An engine with nothing in it."""
        return Core(self._config, self._spans, self._grids, self._archive, self._part)

    async def run(self, found: StreamFacts, stop: asyncio.Event) -> None:
        """Work until ``stop``. Raises StreamReplaced."""
        await self._begin(found)
        self._published = Published(self._nats, found.last)
        reader = Reader(self._nats, STREAM, found.created, self._watermark.sequence)
        now = self._monotonic()
        self._due = dict.fromkeys(("flush", "live", "catch_up"), now)
        self._due |= {"snapshot": now + self._config.snapshot / 1e6, "registry": now}
        try:
            while not stop.is_set():
                wait = max(self._due["flush"] - self._monotonic(), 0.0)
                messages = await reader.take(min(wait, self._flush_s), BATCH)
                if messages:
                    await self._apply(messages, stop)
                await self._gap_feed.step()
                await self._post(stop)
                await self._housekeeping(reader)
            await self._finish()
            self._report(reader)
        finally:
            await reader.close()
            await self._gap_feed.close()

    async def _begin(self, found: StreamFacts) -> None:
        """An engine to go on with; after the stream was replaced it is the one that ran."""
        if self._watermark.created:
            self._watermark = Watermark(max(found.first - 1, 0), found.created)
            return
        await self._know_instruments()
        starter = Starter(
            self._build, self._archive, self._tables, self._nats, STREAM, self._wall, self._monotonic, self._sleep
        )
        self.core, self._watermark, covered, fits = await starter.begin(found)
        self._covered = Covered(self.core, covered, self._config.late_horizon)
        self._health["holes"] = self._health.get("holes", 0) + (not fits)
        self._board = Board(self.core, self._writer, self._names)
        self._catch_up = CatchUp(self.core, self._tables, self._nats)
        self._gap_feed = GapFeed(self._nats, self.core, self._monotonic)
        await self._gap_feed.catch_up(GAPS_WAIT_S)
        self._board.everything()
        held = await self._writer.watermark()
        # A log that lost its end never gets there again by itself.
        self._board.wait_for = held if held and held.sequence <= found.last else None

    async def _know_instruments(self) -> None:
        """Give the registry a moment to be filled before grids are guessed."""
        until = self._monotonic() + REGISTRY_WAIT_S
        while not await self._registry.read(self._grids) and self._monotonic() < until:
            await self._sleep(0.25)
        self._registry_until = until

    async def _apply(self, messages: list[Message], stop: asyncio.Event) -> None:
        """Fold messages, then publish what closed."""
        before = len(self.core.state.symbols)
        columns = self.core.decode(messages)
        await self._new_symbols(before)
        self.core.fold(self._covered.rest(columns))
        self._watermark = Watermark(messages[-1].sequence, self._watermark.created)
        await self._post(stop)

    async def _post(self, stop: asyncio.Event) -> None:
        """Publish what closed or changed."""
        closed, self.core.ledger.outgoing = self.core.ledger.outgoing, []
        seen, self.core.watch.outgoing = self.core.watch.outgoing, []
        if footprint.NAME in self._names:
            await self._publisher.send([Letter(*self._board.footprints.message(*each)) for each in closed], stop)
        if DETECTIONS in self._names:
            await self._publisher.send(await self._published.letters(seen), stop)

    async def _new_symbols(self, before: int) -> None:
        """Wait, soon after the start, for the instruments of symbols seen for the first time."""
        new, grids = self.core.state.symbols[before:], self._grids
        while not all(grids.knows(*who) for who in new) and self._monotonic() < self._registry_until:
            await self._sleep(0.25)
            await self._registry.read(grids)

    async def _housekeeping(self, reader: Reader) -> None:
        now = self._monotonic()
        if now >= self._due["flush"]:
            self._due["flush"] = now + self._flush_s
            if not await self._board.flush(self._watermark, now):
                self._due["flush"] = now + REDIS_AWAY_S
        if now >= self._due["live"]:
            self._due["live"] = now + LIVE_EVERY_S
            await self._board.live(self._wall())
            self._report(reader)
        if now >= self._due["snapshot"] or self.core.ledger.fresh_count() > FRESH_MAX:
            self._due["snapshot"] = now + self._config.snapshot / 1e6
            await self.snapshot()
        if now >= self._due["registry"]:
            await self._registry.write()
            await self._registry.read(self._grids)
            self._due["registry"] = now + (PINS_EVERY_S if self._registry.pins else REGISTRY_EVERY_S)
        elif self._registry.pins:
            self._due["registry"] = min(self._due["registry"], now + PINS_EVERY_S)
        if now >= self._due["catch_up"]:
            await self._catch_up.step()
            self._due["catch_up"] = self._monotonic() + CATCH_UP_EVERY_S

    async def snapshot(self) -> None:
        """Store the state whole; skipped while closed candles are not safely published."""
        if not await self._publisher.settle(5.0):
            _log.warning("snapshot_skipped", reason="closed candles not acknowledged yet")
            return
        try:
            # In this thread: tens of milliseconds a minute, and nothing can change meanwhile.
            self.core.store(self._watermark)
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
            published=self._publisher.published,
            detections_again=self._published.again, redis_error=self._writer.error, flushes=self._board.flushes,
            rewrites=self._board.rewrites, behind=self._board.behind, recomputed=self._catch_up.recomputed,
            gaps_lag=self._gap_feed.lag, gaps_bad=self._gap_feed.bad,
            **self.core.counters(),
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._publisher.close()
        await self._writer.close()
        self._tables.close()
        self._archive.close()
