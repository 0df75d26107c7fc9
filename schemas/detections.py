"""A detection: one thing seen in the order flow, as ``sig.<signal>.<exchange>.<symbol>[.<interval>]`` holds it."""

from __future__ import annotations

from typing import Literal

import msgspec

Side = Literal["buy", "sell"]

SIGNALS = (
    "stack", "unfinished", "naked_poc", "divergence_bar", "divergence_reversal", "divergence_swing",
    "absorption", "absorption_candle", "exhaustion", "sweep", "large_trade", "cascade",
)  # fmt: skip
"""Every ``signal`` there is. What each means: docs/signals.md."""


class Detection(msgspec.Struct, kw_only=True, gc=False):
    """One detection, published once. Prices in quote units, sizes in base units, times in microseconds."""

    signal: str
    exchange: str
    symbol: str
    interval: str
    """Of the candle it was seen in; empty for what is seen in single trades."""
    timestamp: int
    """When: the open time of its candle, or the time of its first trade."""
    side: Side
    """The aggressor it is about; for levels and divergences the side that would profit: ``buy`` for a level below."""
    event: Literal["seen", "opened", "closed"]
    """``opened`` and ``closed`` are said of levels and zones, which stand until price closes them."""
    price: float
    low: float
    high: float
    """The range of price it covers: lower edges for rows."""
    size: float
    """Base units; 0 where size means nothing."""
    value: float
    """What the rule measured, in the unit docs/signals.md names: quote units for trades."""
    count: int
    """Rows, trades or candles, as the rule counts."""
    begin: int
    """When it began: for ``closed`` the ``timestamp`` it was opened with, else ``timestamp``."""
    sequence: int
    """Stream sequence of the event that showed it; never falls within a subject."""
    as_of: int


class Detections(msgspec.Struct):
    """Redis ``detections:<x>:<signal>``: the last ones, oldest first."""

    exchange: str
    symbol: str
    signal: str
    items: list[Detection]
    sequence: int
    as_of: int


decode = msgspec.json.Decoder(Detection).decode
encode = msgspec.json.Encoder().encode
