"""``/api/profile``: volume by price over a named range or any span."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, field

from schemas import time
from schemas.names import key
from web._desk import Desk
from web._endpoint import Endpoint, Moment, OfSymbol
from web._errors import ApiError
from web._stored import heads, price_rows

SPAN_MAX = 40 * time.DAY
_RANGE = re.compile(r"[A-Za-z0-9-]{1,40}")


class Ask(OfSymbol, kw_only=True):
    """Either ``range`` or ``from`` and ``to``."""

    range: Annotated[str, Meta(description="`session`, `previous`, `rolling-4h`, `rolling-24h`")] = ""
    from_: Annotated[Moment | None, Meta(description="First minute: ISO 8601 or µs")] = field(name="from", default=None)
    to: Annotated[Moment | None, Meta(description="Minute after the last; now if left out")] = None


class Profile(msgspec.Struct):
    """Volume by row, ascending. ``poc`` ``vah`` ``val`` are null without volume."""

    exchange: str
    symbol: str
    range: str
    from_: int = field(name="from")
    to: int
    tick: float
    row: float
    prices: list[float]
    buys: list[float]
    sells: list[float]
    buy: float
    sell: float
    delta: float
    poc: float | None
    vah: float | None
    val: float | None
    sequence: int
    as_of: int


async def handle(desk: Desk, ask: Ask) -> msgspec.Raw:
    """A named range as Redis holds it; a span from the closed minutes of the table ``footprints``."""
    symbol = await desk.instruments.canonical(ask.exchange, ask.symbol)
    if ask.from_ is None and ask.to is None:
        name = ask.range or "session"
        if _RANGE.fullmatch(name) is None:
            raise ApiError(400, "invalid_parameter", "range: not a name such as session or rolling-4h")
        found = await desk.cache.value(key("profile", ask.exchange, symbol, name))
        if found is None:
            raise ApiError(404, "no_data", f"no profile {name!r} of {ask.exchange} {symbol}")
        return msgspec.Raw(found)
    if ask.range or ask.from_ is None:
        raise ApiError(400, "invalid_parameter", "give range, or from and to")
    return await _span(desk, ask.exchange, symbol, int(ask.from_), desk.clock() if ask.to is None else int(ask.to))


async def _span(desk: Desk, exchange: str, symbol: str, begin: int, end: int) -> msgspec.Raw:
    begin, end = time.floor(begin, time.MINUTE), time.floor(end + time.MINUTE - 1, time.MINUTE)
    if not 0 < end - begin <= SPAN_MAX:
        raise ApiError(400, "invalid_parameter", "from, to: a span of at most 40 days, from before to")
    rows = await price_rows(desk.tables, exchange, symbol, begin, end, 2**61)
    found = await heads(desk.tables, exchange, symbol, begin, end, 2**61)
    if not rows or not found:
        raise ApiError(404, "no_data", f"no closed minutes of {exchange} {symbol} in that span")
    instrument = desk.instruments.newest.get((exchange, symbol))
    prefix = f'{{"exchange":"{exchange}","symbol":"{symbol}","range":"span",'.encode()
    step = instrument.quantity_step if instrument else None
    (every,) = rows.values()
    return desk.renderer.profile(prefix, every, step, begin, end, found[0].sequence, found[0].as_of)


ENDPOINTS = (Endpoint("/api/profile", "Volume profile of a named range or a span", Ask, Profile, handle),)
