"""The footprint candle, as Redis, ``sig.footprint.…`` and the API hold it. Prices in quote units, sizes in base."""

from __future__ import annotations

from typing import Literal

import msgspec


class Imbalance(msgspec.Struct, gc=False):
    """A diagonal imbalance at a row; ``ratio`` is null where the other side is 0."""

    price: float
    side: Literal["buy", "sell"]
    ratio: float | None


class Stack(msgspec.Struct, gc=False):
    """Consecutive imbalanced rows of one side; ``low`` and ``high`` are lower edges."""

    side: Literal["buy", "sell"]
    low: float
    high: float
    count: int


class Unfinished(msgspec.Struct, gc=False):
    """Whether both sides traded at the candle's extreme rows."""

    high: bool
    low: bool


class FootprintCandle(msgspec.Struct):
    """One candle. ``prices`` are the lower edges of contiguous rows, ascending; ``buys``/``sells`` their volumes."""

    exchange: str
    symbol: str
    interval: str
    timestamp: int
    revision: int
    closed: bool
    complete: bool
    tick: float
    row: float
    open: float
    high: float
    low: float
    close: float
    buy: float
    sell: float
    delta: float
    min_delta: float
    max_delta: float
    cvd: float
    trades: int
    poc: float
    vah: float
    val: float
    prices: list[float]
    buys: list[float]
    sells: list[float]
    imbalances: list[Imbalance]
    stacks: list[Stack]
    unfinished: Unfinished
    sequence: int
    as_of: int
    buy_value: float = 0.0
    sell_value: float = 0.0
    buy_trades: int = 0
    sell_trades: int = 0
    level: int = 0
    """The first row's lower edge in ticks; row ``i`` begins at ``level + i * row_ticks``."""
    row_ticks: int = 1
    row_buys: list[int] = []
    """Number of buy trades in each row; like ``row_sells`` left out (empty) where only the picture is wanted."""
    row_sells: list[int] = []
    vwap: float = 0.0
    """Volume-weighted average price of the candle, and the variance of price about it, also weighted."""
    variance: float = 0.0
    gaps_as_of: int = 0
    """When a gap that touches the candle last changed; 0 where none does. At equal revision the later holds."""


decode = msgspec.json.Decoder(FootprintCandle).decode
encode = msgspec.json.Encoder().encode
