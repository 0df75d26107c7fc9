"""``/api/completeness``: how much of each slot is there, as audits found it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSome
from web._rows import page


class Ask(SpanOfSome, kw_only=True):
    """Which."""

    channel: Annotated[str, Meta(description="Only this channel's, e.g. `trades`", max_length=40)] = ""
    limit: Annotated[int, Meta(ge=1, le=10_000, description="Most rows of a page")] = 1000


class Slot(msgspec.Struct):
    """One audited slot of ``slot`` µs from ``timestamp`` on: ids there should be, are, and why others are not.

    ``verdict`` tells ``quiet`` (nothing traded) from ``unknown`` (nobody can tell) and ``missing``; ``percent`` is null
    where nothing is known of what there should be.
    """

    exchange: str
    symbol: str
    channel: str
    timestamp: int
    slot: int | None
    expected: int | None
    present: int | None
    missing: int | None
    nonexistent: int | None
    unfillable: int | None
    updated: int | None
    percent: float | None
    verdict: str | None
    evidence: str | None


class Answer(msgspec.Struct):
    """Ascending by time."""

    completeness: list[Slot]
    next: str | None


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``completeness``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "completeness", of, window(ask), ask.limit, Slot, ask.channel, time_at=3))


ENDPOINTS = (Endpoint("/api/completeness", "Completeness, hour by hour", Ask, Answer, handle),)
