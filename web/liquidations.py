"""``/api/liquidations``: forced orders, of one symbol, of an exchange or of all."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.events import Liquidation
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSome
from web._rows import page


class Ask(SpanOfSome, kw_only=True):
    """Which."""

    limit: Annotated[int, Meta(ge=1, le=10000, description="Most rows of a page")] = 1000


class Answer(msgspec.Struct):
    """Ascending by time."""

    liquidations: list[Liquidation]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``liquidations``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "liquidations", of, window(ask), ask.limit, Liquidation))


ENDPOINTS = (Endpoint("/api/liquidations", "Liquidations", Ask, Answer, handle),)
