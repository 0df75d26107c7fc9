"""What an endpoint declares: its path, its parameters and its answer as types. Checks and documents come from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, field

from schemas import time
from web._errors import ApiError, response

if TYPE_CHECKING:
    from web._desk import Desk

_LATEST = 4_102_444_800_000_000
"""2100: what lies after it is a mistake."""


class Moment(int):
    """A time in µs; written as ISO 8601 or as an integer of s, ms or µs."""


class Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parameters of an endpoint."""


ExchangeId = Annotated[str, Meta(description="Exchange id, e.g. `binance`", max_length=40)]
SymbolText = Annotated[str, Meta(description="`BTC-USDT`, or as the exchange or ccxt writes it", max_length=60)]


class OfSymbol(Query, kw_only=True):
    """An instrument; its symbol in our spelling, the exchange's own or ccxt's."""

    exchange: ExchangeId
    symbol: SymbolText


class Span(Query, kw_only=True):
    """A part of a series: half open, ``from`` included, ``to`` not."""

    from_: Annotated[Moment | None, Meta(description="First moment: ISO 8601 or µs")] = field(name="from", default=None)
    to: Annotated[Moment | None, Meta(description="Moment after the last: ISO 8601 or µs")] = None
    next: Annotated[str, Meta(description="As the page before said: goes on from there", max_length=40)] = ""


class SpanOfSymbol(Span, kw_only=True):
    """A part of the series of one instrument."""

    exchange: ExchangeId
    symbol: SymbolText


class SpanOfSome(Span, kw_only=True):
    """A part of the series of one instrument, of an exchange's or of all."""

    exchange: Annotated[str, Meta(description="Only this exchange's", max_length=40)] = ""
    symbol: Annotated[str, Meta(description="Only this symbol; needs `exchange`", max_length=60)] = ""


@dataclass(frozen=True)
class Endpoint:
    """One path of the API. ``handle`` gets the desk and the checked query, and returns what is encoded as JSON."""

    path: str
    summary: str
    query: type[Query]
    answer: Any
    """Type of the answer, for the document."""
    handle: Callable[[Desk, Any], Awaitable[Any]]
    method: str = "GET"


@dataclass(frozen=True)
class Route:
    """A path whose requests and answers another program has laid down. ``failed`` says an error its way."""

    path: str
    summary: str
    handle: Callable[[Desk, web.Request], Awaitable[web.Response]]
    failed: Callable[[ApiError], web.Response] = response


def parse(kind: type[Query], parameters: Mapping[str, str], names: list[str]) -> Any:
    """The checked query. ``names`` are the parameters as they came. Raises ApiError 400."""
    if len(names) != len(set(names)):
        raise ApiError(400, "invalid_parameter", "a parameter is given twice")
    try:
        return msgspec.convert(dict(parameters), kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ApiError(400, "invalid_parameter", _told(str(error))) from error


def _told(message: str) -> str:
    """msgspec's words for an object, in words for parameters."""
    words, _, place = message.partition(" - at `$.")
    words = words.replace("Object contains unknown field", "unknown parameter")
    words = words.replace("Object missing required field", "missing parameter")
    return f"{place.rstrip('`')}: {words}" if place else words


def _decode(kind: type, value: Any) -> Any:
    if kind is not Moment or not isinstance(value, str):
        raise ValueError(f"{value!r} cannot be used")
    moment = time.parse(value)
    if not 0 <= moment <= _LATEST:
        raise ValueError(f"{value!r} is out of range")
    return Moment(moment)
