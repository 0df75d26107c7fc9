"""``/api/cvd``: cumulative volume delta, now and along the candles."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.names import key
from web._desk import Desk
from web._endpoint import Endpoint
from web.candles import Ask, candles_of


class Point(msgspec.Struct):
    """Delta of a candle, and its sum since 00:00 UTC at the candle's end."""

    timestamp: int
    delta: float
    cvd: float


class Answer(msgspec.Struct):
    """``now`` is the key ``cvd:<x>``; null before the first trade."""

    now: dict[str, Any] | None
    series: list[Point]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> dict[str, Any]:
    """Both."""
    symbol = await desk.instruments.canonical(ask.exchange, ask.symbol)
    page = await candles_of(desk, ask)
    now = await desk.cache.value(key("cvd", ask.exchange, symbol))
    series = [Point(candle.timestamp, candle.delta, candle.cvd) for candle in page.candles]
    return {"now": msgspec.Raw(now) if now else None, "series": series, "next": page.next}


ENDPOINTS = (Endpoint("/api/cvd", "Cumulative volume delta", Ask, Answer, handle),)
