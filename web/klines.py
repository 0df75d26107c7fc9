"""``/api/klines``: the exchange's own closed candles."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.events import Kline
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._rows import page


class Ask(SpanOfSymbol, kw_only=True):
    """Which."""

    interval: Annotated[str, Meta(description="As in `[klines] intervals`", pattern="^[0-9]{1,4}[smhdw]$")] = "1m"
    limit: Annotated[int, Meta(ge=1, le=10000, description="Most rows of a page")] = 1000


class Answer(msgspec.Struct):
    """Ascending by time."""

    klines: list[Kline]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``klines``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "klines", of, window(ask), ask.limit, Kline, ask.interval))


ENDPOINTS = (Endpoint("/api/klines", "The exchange's own candles", Ask, Answer, handle),)
