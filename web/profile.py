"""``/api/profile``: volume by price over a named range or any span."""

from __future__ import annotations

import re
from typing import Annotated, cast

import msgspec
from msgspec import Meta, field
from redis.exceptions import RedisError

from schemas import time
from schemas.names import key
from signals import ranges
from signals._tables import Tables
from web._desk import Desk
from web._endpoint import Endpoint, Moment, OfSymbol
from web._errors import ApiError

SPAN_MAX = 40 * time.DAY
_RANGE = re.compile(r"[A-Za-z0-9-]{1,40}")


class Ask(OfSymbol, kw_only=True):
    """Either ``range`` or ``from`` and ``to``."""

    range: Annotated[str, Meta(description="`session`, `previous`, `rolling-4h`, `rolling-24h`")] = ""
    from_: Annotated[Moment | None, Meta(description="First minute: ISO 8601 or µs")] = field(name="from", default=None)
    to: Annotated[Moment | None, Meta(description="Minute after the last; now if left out")] = None
    row: Annotated[float, Meta(gt=0, description="Row height of a span, a multiple of its candles' own")] | None = None


class Profile(msgspec.Struct):
    """Volume by row, ascending. ``poc`` ``vah`` ``val`` are null without volume."""

    exchange: str
    symbol: str
    range: str
    from_: int = field(name="from")
    to: int
    tick: float | None
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
    sequence: int | None = None
    as_of: int | None = None
    """Of a named range: the last event in it."""
    deltas: list[float] | None = None
    hvn: list[float] | None = None
    lvn: list[float] | None = None
    """High and low volume nodes, by lower edge."""


async def handle(desk: Desk, ask: Ask) -> msgspec.Raw:
    """A named range as Redis holds it; a span from candles of Redis and, before them, of the table."""
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
    return await _span(desk, ask, symbol, int(ask.from_), desk.clock() if ask.to is None else int(ask.to))


async def _span(desk: Desk, ask: Ask, symbol: str, begin: int, end: int) -> msgspec.Raw:
    if not 0 < end - begin <= SPAN_MAX:
        raise ApiError(400, "invalid_parameter", "from, to: a span of at most 40 days, from before to")
    tables = cast(Tables, desk.tables)  # asked the same way, as the reader
    try:
        found = await ranges.profile(
            desk.cache.redis, tables, ask.exchange, symbol, begin, end, desk.settings.signals, ask.row
        )
    except ValueError as error:
        raise ApiError(400, "invalid_parameter", f"row: {error}") from error
    except (RedisError, OSError) as error:
        raise ApiError(503, "cache_away", "Redis does not answer") from error
    if not found.prices:
        raise ApiError(404, "no_data", f"nothing of {ask.exchange} {symbol} in that span")
    instrument = desk.instruments.newest.get((ask.exchange, symbol))
    body = msgspec.structs.asdict(found) | {"range": "span", "tick": instrument.tick_size if instrument else None}
    body |= {"from": body.pop("begin"), "to": body.pop("end")}
    return msgspec.Raw(msgspec.json.encode(body))


ENDPOINTS = (Endpoint("/api/profile", "Volume profile of a named range or a span", Ask, Profile, handle),)
