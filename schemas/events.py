"""The events of the log. Field name = JSON key = SQL column; the types are the schema.

Times are integer microseconds since the epoch, UTC. ``timestamp`` is the exchange's own time, ``received``
our clock read before the frame was parsed. Quantities are base units, values quote units, ids strings.

Evolution: a new field has a default, no field is retyped or renamed, every event ever written still decodes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Side = Literal["long", "short"]
Coverage = Literal["all", "sampled"]
Source = Literal["ws", "rest"]
GapStatus = Literal["open", "filled", "partial", "nonexistent", "unfillable"]
Level: TypeAlias = tuple[float, float]  # price, quantity


class Trade(msgspec.Struct, tag_field="kind", tag="trade", gc=False):
    """One execution. ``is_buyer_maker`` is true when the aggressor sold."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    trade_id: str
    price: float
    quantity: float
    value: float
    is_buyer_maker: bool
    fills: int = 1
    """Executions this event sums up: ``l - f + 1`` of a Binance aggregate."""


class Liquidation(msgspec.Struct, tag_field="kind", tag="liquidation", gc=False):
    """A forced order. ``side`` is the position that was closed, whatever the exchange calls it."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    liquidation_id: str
    side: Side
    price: float
    quantity: float
    value: float
    coverage: Coverage
    """``sampled`` where the exchange publishes only some: sums are then a lower bound."""


class Book(msgspec.Struct, tag_field="kind", tag="book"):
    """Top of the book, best first. ``timestamp`` is floored to the snapshot slot; the first of a slot wins."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    sequence: int
    bids: list[Level]
    asks: list[Level]


class Kline(msgspec.Struct, tag_field="kind", tag="kline", gc=False):
    """A closed candle of the exchange. ``timestamp`` is its open time."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    interval: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    trades: int | None
    source: Source
    revision: int = 0
    """0 for the first content, +1 for each different one; at equal revision the later ``received`` wins."""
    aggregated_from: str = ""
    """The interval it was made of where the exchange has none of this length; empty where it has."""


class OpenInterest(msgspec.Struct, tag_field="kind", tag="open_interest", gc=False):
    """Open contracts in base units, one side. ``timestamp`` is floored to the poll slot."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    open_interest: float
    value: float | None = None


class Funding(msgspec.Struct, tag_field="kind", tag="funding", gc=False):
    """The funding rate of the period that ends at ``next_funding``, and the marks it came with."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    funding_rate: float
    interval_hours: float | None = None
    next_funding: int | None = None
    mark_price: float | None = None
    index_price: float | None = None


class Gap(msgspec.Struct, tag_field="kind", tag="gap"):
    """A hole in a channel. ``timestamp`` stays ``from_timestamp`` for the gap's whole life."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    channel: str
    from_id: str | None
    to_id: str | None
    from_timestamp: int
    to_timestamp: int
    cause: str
    status: GapStatus
    expected: int | None
    filled: int
    evidence: str
    updated: int
    revision: int = 0


class Clock(msgspec.Struct, tag_field="kind", tag="clock", gc=False):
    """The latest exchange time seen on any channel of an exchange; candles close by it."""

    exchange: str
    timestamp: int
    received: int


Event: TypeAlias = Trade | Liquidation | Book | Kline | OpenInterest | Funding | Gap | Clock
EVENTS: tuple[type[Event], ...] = (Trade, Liquidation, Book, Kline, OpenInterest, Funding, Gap, Clock)

encode = msgspec.json.Encoder().encode
"""One event to one JSON object, without a line end. Floats are finite by the time they get here."""

decode_any = msgspec.json.Decoder(Event).decode
"""One JSON object of any kind. Raises ``msgspec.DecodeError`` (``ValidationError`` where the shape is wrong)."""


def kind(event: Event | type[Event]) -> str:
    """The word for the event in a subject: ``trade``, ``open_interest``, …"""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def identity(event: Event) -> tuple[str | int | None, ...]:
    """What makes two events the same event, whatever else they hold."""
    match event:
        case Trade():
            return (event.exchange, event.symbol, event.trade_id, event.timestamp)
        case Liquidation():
            return (event.exchange, event.symbol, event.timestamp, event.liquidation_id)
        case Kline():
            return (event.exchange, event.symbol, event.interval, event.timestamp)
        case Gap():
            return (event.exchange, event.symbol, event.channel, event.timestamp, event.from_id)
        case Clock():
            return (event.exchange, event.timestamp)
        case _:
            return (event.exchange, event.symbol, event.timestamp)
