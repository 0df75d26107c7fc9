"""The past of slow channels over REST: ranges cut into pages, and rows of answers to events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import NamedTuple

import msgspec

from producers._candles import SETTLE_US, Row, kline
from producers._exchange import FrameError, Past, Request, Setup
from producers._session import BaseSession
from schemas import time
from schemas.events import Event, Funding, OpenInterest
from schemas.instruments import Instrument

Ask = Callable[[str, str, int, int], Request]
"""``ask(native, interval, first, last)``: rows from ``first`` to ``last``, µs, both included."""


class Interest(NamedTuple):
    """Open interest at a time (µs): base units of one side, and its value in quote units where it is told."""

    timestamp: int
    quantity: float
    value: float | None = None


class Settled(NamedTuple):
    """A funding rate, the time (µs) at which it was charged, and what else is told of it."""

    timestamp: int
    rate: float
    mark: float | None = None
    hours: float | None = None
    index_price: float | None = None


def klines(
    lengths: Mapping[str, int], rows_max: int, ask: Ask, read: Callable[[bytes, Instrument], Iterable[Row]],
    reach_s: float = 0.0, reach_rows: int = 0, page_us_max: int = 1 << 62,
) -> Past:  # fmt: skip
    """Candles. ``lengths``: µs by interval, shortest first; ``ask`` takes open times; ``read`` gives all rows."""

    def request(native: str, interval: str, start: int, end: int, _: Setup) -> Request:
        length = lengths[interval]
        first = time.floor(start + length - 1, length)
        stop = min(end, first + min(rows_max * length, page_us_max))
        asked = ask(native, interval, first, max(first, time.floor(stop - 1, length)))
        return asked._replace(symbol=native, interval=interval, start=start, end=stop)

    def parse(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
        feed, length = setup.feeds.channel("klines")[request.symbol], lengths[request.interval]
        end = min(request.end, received - SETTLE_US - length + 1)
        rows = {
            row.timestamp: row
            for row in read(body, feed.instrument)
            if request.start <= row.timestamp < end and row.timestamp == time.floor(row.timestamp, length)
        }
        session = BaseSession(setup)
        return [kline(session, feed, received, request.interval, rows[at]) for at in sorted(rows)]

    return Past(
        request=request, parse=parse, rows_max=rows_max, reach_s=reach_s, reach_rows=reach_rows,
        intervals=tuple(lengths),
    )  # fmt: skip


def either(picks: Callable[[str], bool], one: Past, other: Past) -> Past:
    """``one`` for the natives it ``picks``, ``other`` for all else, such as those of another host."""

    def request(native: str, interval: str, start: int, end: int, setup: Setup) -> Request:
        return (one if picks(native) else other).request(native, interval, start, end, setup)

    def parse(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
        return (one if picks(request.symbol) else other).parse(body, request, received, setup)

    return msgspec.structs.replace(other, request=request, parse=parse)


def open_interest(
    every_us: int, rows_max: int, ask: Ask, read: Callable[[bytes, Instrument], Iterable[Interest]],
    reach_s: float = 0.0, reach_rows: int = 0,
) -> Past:  # fmt: skip
    """Open interest, of which the exchange keeps a row every ``every_us``."""

    def parse(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
        feed, slot_us = setup.feeds.channel("open_interest")[request.symbol], setup.options.open_interest_every
        told = []
        for row in sorted(read(body, feed.instrument)):
            slot = time.floor(row.timestamp, slot_us)
            # The first of a slot wins, whatever page it stands on.
            if not request.start <= row.timestamp < request.end or row.timestamp - slot >= every_us:
                continue
            if not (0.0 <= row.quantity < inf and 0.0 <= (row.value or 0.0) < inf):
                raise FrameError(f"open interest {row.quantity!r} or value {row.value!r} is not finite", body)
            told.append(OpenInterest(setup.exchange, feed.symbol, slot, received, row.quantity, row.value))
        return told

    ranges = _ranges(ask, every_us * rows_max)
    return Past(request=ranges, parse=parse, rows_max=rows_max, reach_s=reach_s, reach_rows=reach_rows)


def funding(
    every_us: int, rows_max: int, ask: Ask, read: Callable[[bytes], Iterable[Settled]], reach_s: float = 0.0,
    reach_rows: int = 0, *, continuous: bool = False,
) -> Past:  # fmt: skip
    """Funding as it was charged; ``every_us`` is the shortest interval the exchange has.

    The event stands at the end of its period, as the last one told live does, with ``next_funding`` that same time;
    None where funding accrues all the time.
    """

    def parse(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
        feed, told = setup.feeds.channel("funding")[request.symbol], []
        for row in sorted(read(body)):
            if not request.start <= row.timestamp < request.end:
                continue
            if not (
                isfinite(row.rate) and all(price is None or 0.0 < price < inf for price in (row.mark, row.index_price))
            ):
                raise FrameError("a funding rate or price that is not finite", body)
            # It is charged on the minute; what exchanges note is some milliseconds after it.
            charged = time.floor(row.timestamp, time.MINUTE)
            slot = time.floor(charged, setup.options.funding_every)
            due, marks = None if continuous else charged, (row.mark, row.index_price)
            told.append(Funding(setup.exchange, feed.symbol, slot, received, row.rate, row.hours, due, *marks))
        return told

    ranges = _ranges(ask, every_us * rows_max)
    return Past(request=ranges, parse=parse, rows_max=rows_max, reach_s=reach_s, reach_rows=reach_rows)


def _ranges(ask: Ask, page_us: int) -> Callable[[str, str, int, int, Setup], Request]:
    def request(native: str, interval: str, start: int, end: int, _: Setup) -> Request:
        stop = min(end, start + page_us)
        return ask(native, interval, start, stop - 1)._replace(symbol=native, interval=interval, start=start, end=stop)

    return request
