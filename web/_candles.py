"""Candles of ours over any span: what Redis holds, and before it what the tables hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from schemas import time
from schemas.names import key
from web._cache import timestamp_of
from web._desk import END, Desk, Window
from web._stored import Head, price_rows

T = TypeVar("T")
ROWS_SPAN_MAX = 40 * time.DAY
"""What one page reads of price rows at most."""


class Source(NamedTuple, Generic[T]):
    """How a candle of Redis becomes a ``T``, and how candles in [begin, end) are made of the tables."""

    table: str
    span_max: int
    """µs one page reads from the tables at most."""
    fresh: Callable[[bytes], T]
    stored: Callable[[int, int], Awaitable[list[T]]]
    members: Sequence[tuple[str, str]]
    """Exchange and symbol of everything in the table that they are made of."""


async def footprints(
    desk: Desk, who: tuple[str, str], interval: str, heads: Sequence[Head], begin: int, end: int
) -> dict[int, msgspec.Raw]:
    """Closed footprint candles of one symbol as JSON, by open time: those of ``heads`` with rows in [begin, end) µs."""
    exchange, symbol = who
    rows = await price_rows(desk.tables, exchange, symbol, begin, end, desk.length(interval))
    prefix = f'{{"exchange":"{exchange}","symbol":"{symbol}","interval":"{interval}",'.encode()
    instrument = desk.instruments.newest.get(who)
    step = instrument.quantity_step if instrument else None
    return {
        head.timestamp: desk.renderer.candle(prefix, head, rows[head.timestamp], step)
        for head in heads
        if head.timestamp in rows
    }


class Series(Generic[T]):
    """The candles of one symbol and interval, or of a sum over exchanges."""

    def __init__(self, desk: Desk, exchange: str, symbol: str, interval: str, source: Source[T]) -> None:
        self._desk = desk
        self._length = desk.length(interval)
        self._open = key("footprint", exchange, symbol, interval)
        self._closed = f"{self._open}:closed"
        self._source = source

    async def page(self, where: Window, limit: int) -> tuple[list[T], str | None]:
        """At most ``limit`` candles, ascending, and ``next``."""
        return await (self._forward(where, limit) if where.forward else self._back(where, limit))

    async def _back(self, where: Window, limit: int) -> tuple[list[T], str | None]:
        held = await self._held(where, limit, newest=True)
        texts = held[-limit:]
        found = [self._source.fresh(text) for text in texts]
        oldest = timestamp_of(texts[0]) if texts else min(where.end, self._floor(self._desk.clock()) + self._length)
        missing = limit - len(found)
        if missing and self._length % time.MINUTE == 0:
            span = min(missing * self._length, self._source.span_max // self._length * self._length or self._length)
            begin = max(self._floor(oldest + self._length - 1) - span, self._ceiling(where.begin))
            if begin < oldest:
                found = await self._source.stored(begin, oldest) + found
                oldest = begin
        before = await self._before(oldest, held[0] if held else b"")
        if before is None or before < where.begin:
            return found, None
        return found, f"to.{min(self._floor(before) + self._length, oldest)}"

    async def _before(self, oldest: int, first_held: bytes) -> int | None:
        """The newest time before ``oldest`` that something is known of."""
        if self._length % time.MINUTE:
            earlier = await self._desk.cache.newest(self._closed, 0, oldest, 1)
            return timestamp_of(earlier[0]) if earlier else None
        if first_held and timestamp_of(first_held) < oldest:
            return oldest - 1
        rows = await self._each("web_before", oldest)
        return max(rows, default=None)

    async def _after(self, begin: int, end: int) -> int:
        """The open time of the oldest stored candle in [begin, end), else ``end``."""
        rows = await self._each("web_after", begin, end)
        return max(begin, self._floor(min(rows))) if rows else end

    async def _each(self, name: str, *bounds: int) -> list[int]:
        """What a statement finds of every member that it finds something of."""
        fetch, table = self._desk.tables.fetch, self._source.table
        return [row[0] for who in self._source.members for row in await fetch(name, *who, *bounds, table=table)]

    async def _forward(self, where: Window, limit: int) -> tuple[list[T], str | None]:
        first = await self._desk.cache.oldest(self._closed, 0, END, 1)
        edge = timestamp_of(first[0]) if first else self._floor(self._desk.clock()) + self._length
        begin, found = self._ceiling(where.begin), list[T]()
        if begin < min(edge, where.end) and self._length % time.MINUTE == 0:
            begin = await self._after(begin, min(edge, where.end))
            span = min(limit * self._length, self._source.span_max // self._length * self._length or self._length)
            end = min(begin + span, edge, self._ceiling(where.end))
            found = await self._source.stored(begin, end)
            if begin < end < min(edge, where.end):
                return found, f"from.{end}"
            begin = end
        held = await self._held(Window(begin, where.end, True), limit - len(found) + 1, newest=False)
        room = limit - len(found)
        found += [self._source.fresh(text) for text in held[:room]]
        return found, f"from.{timestamp_of(held[room])}" if len(held) > room else None

    async def _held(self, where: Window, count: int, *, newest: bool) -> list[bytes]:
        """Candles of Redis in the window, the open one among them."""
        read = self._desk.cache.newest if newest else self._desk.cache.oldest
        current = await self._desk.cache.value(self._open)
        closed = await read(self._closed, where.begin, where.end, count + 1)
        at = timestamp_of(current) if current else -1
        reached = newest or len(closed) <= count
        if current and reached and where.begin <= at < where.end and (not closed or at > timestamp_of(closed[-1])):
            closed.append(current)
        return closed

    def _floor(self, at: int) -> int:
        return time.floor(at, self._length)

    def _ceiling(self, at: int) -> int:
        return at if at >= END else time.floor(at + self._length - 1, self._length)
