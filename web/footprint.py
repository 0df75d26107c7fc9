"""``/api/footprint``: candles with their price rows."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.candles import FootprintCandle
from web import _sums as sums
from web._candles import ROWS_SPAN_MAX, Series, Source, footprints
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._stored import heads


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
    who = (ask.exchange, symbol)
    length, members = desk.length(ask.interval), sums.members_of(desk, who)

    async def stored(begin: int, end: int) -> list[msgspec.Raw]:
        if sums.is_sum(ask.exchange):
            return await sums.stored(desk, who, members, ask.interval, begin, end)
        its = await heads(desk.tables, *who, begin, end, length)
        return list((await footprints(desk, who, ask.interval, its, begin, end)).values())

    source = Source("footprints", ROWS_SPAN_MAX, msgspec.Raw, stored, members)
    candles, following = await Series(desk, *who, ask.interval, source).page(window(ask), ask.limit)
    return {"candles": candles, "next": following}


ENDPOINTS = (Endpoint("/api/footprint", "Footprint candles: volume by price row and aggressor", Ask, Answer, handle),)
