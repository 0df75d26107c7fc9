"""The audit: trades in the table against the exchange's candles and against the numbers of the trades, by hour."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from consumers._patience import stopped_within
from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from consumers._sender import Layout, Writer
from consumers._verdict import Completeness, Count, Ids, Settled, Told, continuity, judge
from schemas import time
from schemas.settings import Settings
from schemas.symbols import is_numbered
from schemas.time import DAY, HOUR, MINUTE

log = structlog.get_logger()
SETTLE = 90 * time.SECOND
"""What is younger is not judged yet: a candle may be in its table before the last of its trades is."""
STARTING = 2 * MINUTE
"""After the minute of an exchange's first trade: then all its symbols are listened to."""
BEFORE = 2 * HOUR
"""How far before the first hour its preceding id is looked for."""
REACH, REACH_ALL = 3 * HOUR, 26 * HOUR
"""How far back a round looks, and one that looks at everything once more."""
ROUNDS_PER_WHOLE = 12
FIRST_S = 20.0
"""From the start to the first round: by then the table's loop knows what it lacks."""
ROWS_MAX = 5_000
WORST_MAX = 20
_TABLE = "completeness"
_LAYOUT = Layout(Completeness, ("symbol", "exchange", "channel", "verdict", "evidence"), ("updated",))


class Span(NamedTuple):
    """Whole hours from ``begin`` to the hour that ``end`` lies in; nothing at or after ``end`` is judged (µs)."""

    begin: int
    end: int

    @property
    def hours(self) -> range:
        """Where each hour begins."""
        return range(time.floor(self.begin, HOUR), self.end, HOUR)


class Audit:
    """Compares over one connection. ``settings`` say which candles there are and which exchanges' trades are wanted."""

    def __init__(self, settings: Settings, questdb: Questdb) -> None:
        self._questdb, self._settings = questdb, settings
        self._retention = settings.retention.trades
        fits = [time.duration(name) for name in settings.klines.intervals if HOUR % time.duration(name) == 0]
        names = {time.duration(name): name for name in settings.klines.intervals}
        self._interval = names[min(fits)] if fits else ""
        """The shortest of the candles that make up an hour; empty where there are none."""

    async def run(self, begin: int, end: int, now: int) -> list[Completeness]:
        """The hours from ``begin`` to ``end`` (µs) of every symbol. Raises QuestdbUnreachable, QuestdbRefused."""
        if self._retention:
            begin = max(begin, time.floor(now - self._retention, DAY) + DAY)
        span = Span(begin, min(end, now - SETTLE))
        if span.end <= span.begin:
            return []
        since: dict[str, dict[str, int]] = defaultdict(dict)
        for exchange, symbol, first in await self._questdb.fetch(statement("audit_series")):
            since[exchange][symbol] = first
        wanted = since.keys() | await self._telling(span)
        return [
            row for exchange in sorted(wanted) for row in await self._exchange(exchange, since[exchange], span, now)
        ]

    async def _telling(self, span: Span) -> set[str]:
        """Exchanges whose trades are wanted and of which there are at least candles."""
        if not self._interval:
            return set()
        sql = statement("audit_exchanges", interval=self._interval)
        found = {exchange for (exchange,) in await self._questdb.fetch(sql, *span)}
        configured = self._settings.exchanges.items()
        return found & {name for name, its in configured if not its.channels or "trades" in its.channels}

    async def _exchange(self, exchange: str, since: dict[str, int], span: Span, now: int) -> list[Completeness]:
        first, begun = min(since.values(), default=span.begin), dict[str, int]()
        if first >= span.begin:  # recording began within: its first minutes are nobody's loss
            begun = await self._begun(exchange, first)
            span = span._replace(begin=time.floor(min(begun.values(), default=first), MINUTE) + STARTING)
        if span.end <= span.begin:
            return []
        told = await self._told(exchange, span)
        held = await self._held(exchange, span)
        settled = {
            (symbol, hour): Settled(int(never or 0), int(lost or 0))
            for symbol, hour, never, lost in await self._questdb.fetch(statement("audit_gaps"), exchange, *span)
        }
        rows = []
        for symbol in sorted(since.keys() | told.keys() | held.keys()):
            its, own = held.get(symbol, {}), since.get(symbol, first)
            hours = [hour for hour in span.hours if hour >= own]
            counts = self._counts(exchange, hours, its)
            for hour in hours:
                row = Completeness(exchange, symbol, hour, now, its[hour].present if hour in its else 0)
                # a symbol that came later than its exchange, or whose past was not read so far back yet: the first
                # hour holds candles from before
                late = hour == own and (own > first or begun.get(symbol, 0) > span.begin)
                candles = None if late else told.get(symbol, {}).get(hour)
                rows.append(judge(row, counts.get(hour), candles, settled.get((symbol, hour), Settled())))
        return rows

    async def _begun(self, exchange: str, hour: int) -> dict[str, int]:
        """By symbol, when its first trade of the hour was."""
        rows = await self._questdb.fetch(statement("audit_first"), exchange, hour, hour + HOUR)
        return {symbol: first for symbol, first in rows if first is not None}

    async def _told(self, exchange: str, span: Span) -> dict[str, dict[int, Told]]:
        told: dict[str, dict[int, Told]] = defaultdict(dict)
        if self._interval:
            length = time.duration(self._interval)
            until = time.floor(span.end, length)  # the slot that is not over has no candle
            sql = statement("audit_candles", interval=self._interval)
            for symbol, hour, *facts in await self._questdb.fetch(sql, exchange, span.begin, until):
                told[symbol][hour] = Told(*(fact or 0 for fact in facts))
        return told

    async def _held(self, exchange: str, span: Span) -> dict[str, dict[int, Ids]]:
        held: dict[str, dict[int, Ids]] = defaultdict(dict)
        begin = time.floor(span.begin, HOUR) - BEFORE
        for symbol, hour, *ids in await self._questdb.fetch(statement("audit_trades"), exchange, begin, span.end):
            held[symbol][hour] = Ids(*ids)
        return held

    def _counts(self, exchange: str, hours: Sequence[int], held: dict[int, Ids]) -> dict[int, Count]:
        if not is_numbered(exchange) or not hours:
            return {}
        before = [ids.last for hour, ids in held.items() if hour < hours[0] and ids.last is not None]
        return continuity(hours, held, max(before, default=None))


def store(settings: Settings, rows: Sequence[Completeness]) -> None:
    """Write rows to ``completeness``; an hour audited again replaces what was said of it. Raises QuestdbUnreachable."""
    writer = Writer(settings.questdb.http, _TABLE, _LAYOUT)
    try:
        for first in range(0, len(rows), ROWS_MAX):
            writer.write(rows[first : first + ROWS_MAX])
    finally:
        writer.close()


def summary(rows: Sequence[Completeness], end: int) -> dict[str, Any]:
    """For health: the last hour that is over (else the running one), by verdict, and its worst symbols."""
    over = {row.timestamp for row in rows if row.timestamp + HOUR <= end} or {row.timestamp for row in rows}
    newest = [row for row in rows if row.timestamp == max(over, default=0)]
    worst = sorted((row for row in newest if row.verdict == "missing"), key=lambda row: row.percent or 0.0)
    percents = [row.percent for row in newest if row.percent is not None]
    return {
        "hour": max(over, default=0),
        "symbols": len(newest),
        "percent": min(percents, default=None),
        "verdicts": dict(Counter(row.verdict for row in newest)),
        "worst": {f"{row.exchange}:{row.symbol}": row.percent for row in worst[:WORST_MAX]},
    }


async def keep(
    settings: Settings, questdb: Questdb, stop: asyncio.Event, health: dict[str, Any], trades: dict[str, Any],
    *, clock: Callable[[], int],
) -> None:  # fmt: skip
    """Audit every ``[consumer] audit`` until ``stop``: the last hours, older ones when a gap in them changed, and now
    and then all of the last day. ``trades`` is the health of the table: nothing beyond what it holds is judged."""
    audit, rounds, checked = Audit(settings, questdb), 0, 0
    pause_s = min(FIRST_S, settings.consumer.audit / time.SECOND)
    while not await stopped_within(stop, pause_s):
        pause_s, now = settings.consumer.audit / time.SECOND, clock()
        end = trades.get("stored", 0) if trades.get("lag") or trades.get("held") else now
        try:
            begin = end - (REACH if rounds % ROUNDS_PER_WHOLE else REACH_ALL)
            changed = await questdb.fetch(statement("audit_changed"), checked) if checked else []
            oldest = changed[0][0] if changed else None  # without a row to look at QuestDB may answer with none
            rows = await audit.run(min(begin, oldest or begin), end, now)
            await asyncio.to_thread(store, settings, rows)
        except (QuestdbUnreachable, QuestdbRefused) as error:
            log.info("audit_waits", reason=str(error)[:200])
        else:
            health["completeness"] = {"as_of": now, **summary(rows, end)}
            rounds, checked = rounds + 1, now - MINUTE
