"""Candles of REST: what a row means; where there is no other source, which to ask for, and which rows are news."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from producers._exchange import Poll, Request, Setup
from producers._feeds import Feed
from producers._session import BaseSession
from schemas import time
from schemas.events import Event, Kline
from schemas.instruments import Instrument

SETTLE_US = 2_000_000
"""A candle counts as closed so long after its end: the exchange's clock and ours differ."""
EMPTY_US = 60_000_000
"""A candle that has not appeared so long after its end held no trade."""


class Row(NamedTuple):
    """A candle of an answer: open time µs, prices, volume in the exchange's unit; in base units beside a ``value``."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float | None = None
    trades: int | None = None


class _Mark:
    """How far an interval of a symbol has come: the newest candle told, and the newest known to be empty."""

    __slots__ = ("empty", "row", "told")

    def __init__(self) -> None:
        self.told = self.empty = 0
        self.row: Row | None = None


def poll(
    lengths: Mapping[str, int], rows_max: int, ask: Callable[[str, str, int, int], Request],
    read: Callable[[bytes, Instrument], Iterable[Row]],
) -> Poll:  # fmt: skip
    """The declaration. ``lengths``: µs by interval word; ``ask(native, interval, first, last)`` takes open times (µs).

    An answer holds at most ``rows_max`` rows, in any order, closed or not; ``read`` gives them.
    """

    def requests(natives: Sequence[str], setup: Setup, now: int) -> Sequence[Request]:
        asked = []
        for native in natives:
            feed = setup.feeds.channel("klines")[native]
            for interval in [interval for interval in setup.options.intervals if interval in lengths]:
                length, mark = lengths[interval], _mark(feed, interval)
                last = time.floor(now - SETTLE_US, length) - length
                if last > max(mark.told, mark.empty):
                    # The last one told is asked for again: where the exchange has corrected it, it is told anew.
                    asked.append(ask(native, interval, max(mark.told or last, last - (rows_max - 1) * length), last))
        return asked

    def parse(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
        instrument = setup.feeds.channel("klines")[request.symbol].instrument
        return _news(setup, request, received, lengths[request.interval], read(body, instrument))

    return Poll(requests=requests, parse=parse)


def _news(setup: Setup, request: Request, received: int, length: int, rows: Iterable[Row]) -> list[Kline]:
    """The closed candles of an answer that are news or were corrected, oldest first."""
    feed = setup.feeds.channel("klines")[request.symbol]
    feed.frames += 1
    mark, session, told = _mark(feed, request.interval), BaseSession(setup), []
    last = time.floor(received - SETTLE_US, length) - length
    for row in sorted(rows):
        if mark.told <= row.timestamp <= last and row.timestamp == time.floor(row.timestamp, length):
            if row != mark.row:
                told.append(kline(session, feed, received, request.interval, row))
            mark.told, mark.row = row.timestamp, row
    if mark.told < last and received - (last + length) >= EMPTY_US:
        mark.empty = last
    return told


def _mark(feed: Feed, interval: str) -> _Mark:
    if not isinstance(feed.content, dict):
        feed.content = {}
    mark: _Mark = feed.content.setdefault(interval, _Mark())
    return mark


def kline(session: BaseSession, feed: Feed, received: int, interval: str, row: Row) -> Kline:
    """The event of a row."""
    prices, contract = (row.open, row.high, row.low, row.close), feed.instrument.contract_size
    if row.value is not None:
        told = (prices, row.volume, row.value, row.trades)
        return session.kline(feed, row.timestamp, received, interval, *told, "rest")
    if not feed.instrument.inverse:
        volume = row.volume * contract if contract != 1.0 else row.volume
        return session.kline(feed, row.timestamp, received, interval, prices, volume, None, row.trades, "rest")
    # The volume is in quote units; the mean of the four prices stands for what each part of it traded at.
    value, mean = row.volume * contract, sum(prices) / 4.0
    volume = value / mean if mean > 0.0 else 0.0
    return session.kline(feed, row.timestamp, received, interval, prices, volume, value, row.trades, "rest")
