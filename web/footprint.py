"""``/api/footprint``: candles with their price rows."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas import time
from schemas.candles import FootprintCandle
from web import _sums as sums
from web._candles import Series, Source
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._stored import heads, price_rows

SPAN_MAX = 40 * time.DAY


class Ask(SpanOfSymbol, kw_only=True):
    """Which candles."""

    interval: Annotated[str, Meta(description="One of `[signals] intervals`")] = "1m"
    limit: Annotated[int, Meta(ge=1, le=1000, description="Most candles of a page")] = 200


class Answer(msgspec.Struct):
    """Ascending by open time."""

    candles: list[FootprintCandle]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> dict[str, Any]:
    """The open and closed candles of Redis, older ones from the tables."""
    symbol = await desk.instruments.canonical(ask.exchange, ask.symbol)
    length = desk.length(ask.interval)
    prefix = f'{{"exchange":"{ask.exchange}","symbol":"{symbol}","interval":"{ask.interval}",'.encode()
    instrument = desk.instruments.newest.get((ask.exchange, symbol))
    step = instrument.quantity_step if instrument else None

    async def stored(begin: int, end: int) -> list[msgspec.Raw]:
        if sums.is_sum(ask.exchange):
            return await sums.stored(desk, (ask.exchange, symbol), ask.interval, begin, end)
        rows = await price_rows(desk.tables, ask.exchange, symbol, begin, end, length)
        candles = await heads(desk.tables, ask.exchange, symbol, begin, end, length)
        return [desk.renderer.candle(prefix, head, rows[head.timestamp], step)
                for head in candles if head.timestamp in rows]  # fmt: skip

    members = sums.members(desk, ask.exchange, symbol)
    source = Source("footprints", SPAN_MAX, msgspec.Raw, stored, members)
    series = Series(desk, ask.exchange, symbol, ask.interval, source)
    candles, following = await series.page(window(ask), ask.limit)
    return {"candles": candles, "next": following}


ENDPOINTS = (Endpoint("/api/footprint", "Footprint candles: volume by price row and aggressor", Ask, Answer, handle),)
