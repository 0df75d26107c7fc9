"""``/api/candles``: our candles without their price rows."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas import time
from web import _sums as sums
from web._candles import ROWS_SPAN_MAX, Series, Source
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._stored import heads

DIGITS = 12
SPAN_MAX = 400 * time.DAY


class Candle(msgspec.Struct):
    """A candle of ours; the words are those of the footprint candle."""

    exchange: str
    symbol: str
    interval: str
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    buy: float
    sell: float
    delta: float
    min_delta: float
    max_delta: float
    cvd: float
    trades: int
    revision: int
    closed: bool
    complete: bool
    sequence: int
    as_of: int


class Ask(SpanOfSymbol, kw_only=True):
    """Which candles."""

    interval: Annotated[str, Meta(description="One of `[signals] intervals`")] = "1m"
    limit: Annotated[int, Meta(ge=1, le=5000, description="Most candles of a page")] = 500


class Answer(msgspec.Struct):
    """Ascending by open time."""

    candles: list[Candle]
    next: str | None


_decode = msgspec.json.Decoder(Candle).decode


async def candles_of(desk: Desk, ask: Ask) -> Answer:
    """A page of candles, of Redis and before it of the table ``candles``."""
    symbol = await desk.instruments.canonical(ask.exchange, ask.symbol)
    who = (ask.exchange, symbol)
    length, members = desk.length(ask.interval), sums.members_of(desk, who)

    async def stored(begin: int, end: int) -> list[Candle]:
        return [
            Candle(
                *who, ask.interval, head.timestamp, head.open, head.high, head.low, head.close,
                _plain(head.buy), _plain(head.sell), _plain(head.buy - head.sell), _plain(head.min_delta),
                _plain(head.max_delta), _plain(head.cvd), head.trades, head.revision, True, bool(head.complete),
                head.sequence, head.as_of,
            )
            for head in await heads(desk.tables, *who, begin, end, length)
        ]  # fmt: skip

    async def added_up(begin: int, end: int) -> list[Candle]:
        return [_decode(text) for text in await sums.stored(desk, who, members, ask.interval, begin, end)]

    read, span_max = (added_up, ROWS_SPAN_MAX) if sums.is_sum(ask.exchange) else (stored, SPAN_MAX)
    series = Series(desk, *who, ask.interval, Source("candles", span_max, _decode, read, members))
    return Answer(*await series.page(window(ask), ask.limit))


def _plain(value: float) -> float:
    """A sum of sizes without what adding binary fractions leaves behind."""
    return round(value, DIGITS)


ENDPOINTS = (Endpoint("/api/candles", "Candles of ours, with delta", Ask, Answer, candles_of),)
