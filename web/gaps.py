"""``/api/gaps``: holes in the data, each in its present state."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.events import Gap, GapStatus
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSome
from web._rows import page


class Ask(SpanOfSome, kw_only=True):
    """Which."""

    status: Annotated[GapStatus | None, Meta(description="Only gaps of this status")] = None
    channel: Annotated[str, Meta(description="Only this channel's, e.g. `trades`", max_length=40)] = ""
    limit: Annotated[int, Meta(ge=1, le=10000, description="Most rows of a page")] = 1000


class Answer(msgspec.Struct):
    """Ascending by time."""

    gaps: list[Gap]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``gaps``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "gaps", of, window(ask), ask.limit, Gap, ask.status or "", ask.channel))


ENDPOINTS = (Endpoint("/api/gaps", "Holes: what is missing, what was filled, on what evidence", Ask, Answer, handle),)
