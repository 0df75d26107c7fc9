"""``/api/instruments``: what is traded, and what we compute of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.instruments import Instrument
from schemas.names import key
from web._desk import Desk
from web._endpoint import Endpoint, Query

KEYS_MAX = 20_000


class Ask(Query, kw_only=True):
    """Which instruments."""

    exchange: Annotated[str, Meta(description="Only this exchange's")] = ""
    live: Annotated[bool, Meta(description="Only those with a footprint")] = False


class Listed(msgspec.Struct):
    """An instrument, and whether it has a footprint now."""

    exchange: str
    symbol: str
    live: bool
    instrument: Instrument | None
    """Null where the exchange's list could not be read."""


class Answer(msgspec.Struct):
    """By exchange and symbol. ``intervals`` are those of our candles."""

    instruments: list[Listed]
    intervals: list[str]


async def handle(desk: Desk, ask: Ask) -> Any:
    """The registry and the keys of Redis put together."""
    await desk.instruments.refresh()
    prefix = key("cvd", "", "").rstrip(":") + ":"
    computed = {tuple(name.split(":")[1:3]) for name in await desk.cache.keys(f"{prefix}*", KEYS_MAX)}
    known = computed if ask.live else computed | desk.instruments.newest.keys()
    listed = [
        Listed(exchange, symbol, (exchange, symbol) in computed, desk.instruments.newest.get((exchange, symbol)))
        for exchange, symbol in sorted(known)
        if ask.exchange in ("", exchange)
    ]
    return Answer(listed, desk.settings.signals.intervals)


ENDPOINTS = (Endpoint("/api/instruments", "Instruments, and which of them have a footprint", Ask, Answer, handle),)
