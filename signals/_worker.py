"""One engine at work: reads, folds, flushes, snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from signals._decode import Decoder, Message
from signals._engine import Engine
from signals._grid import Grids
from signals._layout import CLOCK, Columns
from signals._ledger import Ledger
from signals._publish import Letter, Publisher
from signals._redis import Watermark, Writer
from signals._registry import Registry
from signals._seen import Seen
from signals._snapshot import SnapshotUnusable, dump, load
from signals._state import Spans, State
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
    ) -> None:  # fmt: skip
        self._config, self._health, self._wall, self._monotonic = settings.signals, health, wall, monotonic
        self._nats = nats
        self._archive = Archive(path, self._config.closed)
        self._registry = Registry(nats)
        self._grids = Grids(self._config.row, self._registry.pins.append)
        self._publisher = Publisher(nats, monotonic)
        self._writer = Writer(redis, watermark_key, self._config.closed)
        self._build(spans, names)
        self._flush_s = self._config.flush / 1e6
        self._due = dict.fromkeys(("flush", "snapshot", "registry", "live"), 0.0)
        self._stored = Watermark(0, "")

    def _build(self, spans: Spans, names: tuple[str, ...]) -> None:
        """An engine with nothing in it."""
        self.state = State(spans)
        self._ledger = Ledger(self.state, self._archive, self._config.closed)
        self._engine = Engine(self.state, self._grids, self._ledger, self._config.late_horizon)
        self._seen = Seen(self._config.late_horizon)
        self._decoder = Decoder(self.state)
        self._board = Board(self.state, self._ledger, self._decoder, self._writer, names)
        self._covered: dict[str, int] = {}

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
        body = self._archive.state() if not self.state.symbols else None
        if body is not None:
            try:
                stored, self._covered = load(body, self.state, self._engine.late)
                self._recall_seen()
                self._ledger.recall()
                self._stored = stored
            except (SnapshotUnusable, CandleDamaged, msgspec.DecodeError, ValueError) as error:
                self._archive.start_over(str(error))
                self._build(self.state.spans, self._board.names)
        if self._stored.created == found.created and found.first - 1 <= self._stored.sequence <= found.last:
            return self._stored
        if self._stored.created:
            self._health["holes"] = self._health.get("holes", 0) + 1
            _log.error("snapshot_beside_stream", stored=self._stored, first=found.first, last=found.last)
        continuing = self._stored.created == found.created and self._stored.sequence < found.first
        return Watermark(found.first - 1 if continuing else max(found.first - 1, 0), found.created)

    def _recall_seen(self) -> None:
        now = self.state.clocks[:, CLOCK].copy()
        old = []
        for number, clocks, marks in self._archive.seen():
            then = msgspec.msgpack.decode(clocks)
            gone = all(
                then.get(name, 0) + self._config.late_horizon < int(now[x])
                for x, name in enumerate(self.state.exchanges)
            )
            if gone:
                old.append(number)
            else:
                self._seen.recall(marks, now)
        self._archive.forget_seen(old)

    async def _know_instruments(self) -> None:
        """Give the registry a moment to be filled before grids are guessed."""
        until = self._monotonic() + REGISTRY_WAIT_S
        while not await self._registry.read(self._grids) and self._monotonic() < until:
            await asyncio.sleep(0.25)
        self._registry_until = until

    async def _apply(self, messages: list[Message], stop: asyncio.Event) -> None:
        """Fold messages, then publish what closed."""
        before = len(self.state.symbols)
        columns = self._decoder.columns(messages)
        await self._new_symbols(before)
        fresh = self._seen.admit(
            columns.identity, columns.timestamp, columns.slot, columns.exchange, self.state.salt,
            self.state.clocks[:, CLOCK].copy(),
        )  # fmt: skip
        self._duplicates += int(len(fresh) - fresh.sum())
        self._engine.apply(columns if fresh.all() else Columns._make(column[fresh] for column in columns))
        self._watermark = Watermark(messages[-1].sequence, self._watermark.created)
        closed, self._ledger.outgoing = self._ledger.outgoing, []
        await self._publisher.send([Letter(*self._board.footprints.message(*each)) for each in closed], stop)

    _duplicates = 0

    async def _new_symbols(self, before: int) -> None:
        """Wait, soon after the start, for the instruments of symbols seen for the first time."""
        new = self.state.symbols[before:]
        while [1 for who in new if not self._grids.knows(*who)] and self._monotonic() < self._registry_until:
            await asyncio.sleep(0.25)
            await self._registry.read(self._grids)

    async def _housekeeping(self, reader: Reader) -> None:
        now = self._monotonic()
        if now >= self._due["flush"]:
            self._due["flush"] = now + self._flush_s
            await self._board.flush(self._watermark, now)
        if now >= self._due["live"]:
            self._due["live"] = now + LIVE_EVERY_S
            await self._board.live(self._wall())
            self._report(reader)
        if now >= self._due["snapshot"] or self._ledger.fresh_count() > FRESH_MAX:
            self._due["snapshot"] = now + self._config.snapshot / 1e6
            await self.snapshot()
        if now >= self._due["registry"] or self._registry.pins:
            self._due["registry"] = now + REGISTRY_EVERY_S
            await self._registry.write()
            await self._registry.read(self._grids)

    async def snapshot(self) -> None:
        """Store the state whole; skipped while closed candles are not safely published."""
        if not await self._publisher.settle(5.0):
            _log.warning("snapshot_skipped", reason="closed candles not acknowledged yet")
            return
        exchanges = dict(zip(self.state.exchanges, self.state.clocks[:, CLOCK].tolist(), strict=False))
        body = dump(self.state, self._engine.late, self._watermark, self._covered)
        news, clocks = self._seen.news(), msgspec.msgpack.encode(exchanges)
        await asyncio.to_thread(self._archive.store, self._ledger.fresh(), body, clocks, news)
        self._ledger.archived()
        self._stored = self._watermark

    async def _finish(self) -> None:
        """Leave nothing behind: keys, acknowledgements and snapshot reach what was read."""
        await self._board.flush(self._watermark, self._monotonic(), last=True)
        await self.snapshot()

    def _report(self, reader: Reader) -> None:
        self._health.update(
            state="running", sequence=self._watermark.sequence, lag=reader.pending, missing=reader.missing,
            symbols=len(self.state.symbols), bad=self._decoder.bad, duplicates=self._duplicates,
            published=self._publisher.published, redis_error=self._writer.error, flushes=self._board.flushes,
            rewrites=self._board.rewrites, behind=self._board.behind, **self._engine.counters(),
        )  # fmt: skip

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._publisher.close()
        await self._writer.close()
        self._archive.close()
