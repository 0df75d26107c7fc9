"""Where an engine begins: its snapshot, or the tables up to where the log begins, or nothing."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import numpy as np
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from schemas import time
from schemas.names import subject
from signals._archive import Archive
from signals._candle import CandleDamaged
from signals._core import Core
from signals._jetstream import StreamAnswer, StreamFacts, request
from signals._layout import CLOCK, SEQUENCE, Columns
from signals._redis import Watermark
from signals._seed import Seed
from signals._snapshot import SnapshotUnusable
from signals._tables import Tables, TablesAway

_log = structlog.get_logger()
_TABLES_WAIT_S = 10.0


class _Stamp(msgspec.Struct):
    timestamp: int


class Start(NamedTuple):
    """An engine, the last message it holds, and until when (µs) the minutes of an exchange came from tables."""

    core: Core
    watermark: Watermark
    covered: dict[str, int]
    fits: bool
    """False where messages between the last state and the stream's beginning are gone."""


class Covered:
    """Until when (µs), by exchange, the candles of tables hold what the log begins with as well."""

    def __init__(self, core: Core, until: dict[str, int], horizon: int) -> None:
        self._core, self._until, self._horizon = core, until, horizon

    def rest(self, columns: Columns) -> Columns:
        """Without trades the tables' candles hold already: those of covered minutes, up to a candle's sequence."""
        if not self._until:
            return columns
        core, state, kept = self._core, self._core.state, np.ones(len(columns.slot), np.bool_)
        covered = np.array([self._until.get(name, 0) for name in state.exchanges], np.int64)
        for n in np.flatnonzero((columns.timestamp < covered[columns.exchange]) & (columns.slot >= 0)).tolist():
            minute = int(columns.timestamp[n]) // time.MINUTE * time.MINUTE
            candle = core.ledger.get(int(columns.slot[n]), state.spans.minute, minute)
            kept[n] = candle is None or columns.sequence[n] > candle.meta[SEQUENCE]
        if (state.clocks[: len(covered), CLOCK] > covered + self._horizon).all():
            self._until = {}
        return Columns._make(column[kept] for column in columns)


class Starter:
    """``build`` makes an empty engine over ``archive``; what of the tables is older than ``since`` (µs) is not read."""

    def __init__(
        self, build: Callable[[], Core], archive: Archive, tables: Tables, nats: Client, stream: str,
        wall: Callable[[], int], monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]],
        since: int = 0,
    ) -> None:  # fmt: skip
        self._since = since
        self._build, self._archive, self._tables = build, archive, tables
        self._nats, self._stream = nats, stream
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep

    async def begin(self, found: StreamFacts) -> Start:
        """The snapshot if it is of this stream and nothing after it is gone; else tables, then the whole stream."""
        core, stored = self._recalled()
        if stored.created == found.created and found.first - 1 <= stored.sequence <= found.last:
            return Start(core, stored, {}, True)
        if stored.created:
            _log.error("snapshot_beside_stream", sequence=stored.sequence, first=found.first, last=found.last)
        first = Watermark(max(found.first - 1, 0), found.created)
        try:
            exchanges = await self._exchanges()
        except TablesAway as error:
            _log.warning("begins_without_tables", reason=str(error))
            return Start(core, first, {}, not stored.created)
        until = {exchange: await self._first_minute(exchange, found) for exchange in exchanges}
        if stored.created:
            self._archive.clear()
            core = self._build()
        try:
            await Seed(core, self._tables, self._monotonic, self._since).fill(until)
        except TablesAway as error:
            _log.warning("seeding_cut_short", reason=str(error))
        return Start(core, first, until if found.first > 1 else {}, not stored.created)

    def _recalled(self) -> tuple[Core, Watermark]:
        """The engine of the last snapshot and its watermark; an empty one when there is none or it is damaged."""
        core = self._build()
        try:
            return core, core.recall() or Watermark(0, "")
        except (SnapshotUnusable, CandleDamaged, msgspec.DecodeError, ValueError, sqlite3.DatabaseError) as error:
            self._archive.start_over(str(error))
            return self._build(), Watermark(0, "")

    async def _exchanges(self) -> list[str]:
        """Those the tables have candles of; waits a little for QuestDB. Raises TablesAway."""
        deadline = self._monotonic() + _TABLES_WAIT_S
        while True:  # ends at the deadline
            try:
                return sorted({row[0] for row in await self._tables.fetch("signal_series")})
            except TablesAway:
                if self._monotonic() > deadline:
                    raise
            await self._sleep(0.5)

    async def _first_minute(self, exchange: str, found: StreamFacts) -> int:
        """The minute an exchange's trades begin in; where the stream's beginning is gone, it is the tables' as well."""
        now = self._wall() - self._wall() % time.MINUTE
        if found.last < found.first:
            return now
        wanted = {"seq": found.first, "next_by_subj": subject("trade", exchange, ">")}
        try:
            answer = await request(self._nats, f"STREAM.MSG.GET.{self._stream}", wanted)
            line = base64.b64decode(answer["message"]["data"]).partition(b"\n")[0]
            stamp = msgspec.json.decode(line, type=_Stamp).timestamp
        except (NatsError, StreamAnswer, OSError, TimeoutError, msgspec.DecodeError) as error:
            _log.warning("first_message_unread", reason=str(error))
            return now
        return stamp - stamp % time.MINUTE + (time.MINUTE if found.first > 1 else 0)
