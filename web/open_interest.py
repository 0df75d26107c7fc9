"""``/api/open_interest``: open interest over time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.events import OpenInterest
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._rows import page


class Ask(SpanOfSymbol, kw_only=True):
    """Which."""

    limit: Annotated[int, Meta(ge=1, le=10000, description="Most rows of a page")] = 1000


class Answer(msgspec.Struct):
    """Ascending by time."""

    open_interest: list[OpenInterest]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``open_interest``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "open_interest", of, window(ask), ask.limit, OpenInterest))


ENDPOINTS = (Endpoint("/api/open_interest", "Open interest", Ask, Answer, handle),)
