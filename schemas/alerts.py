"""An alert, as ``sig.alert.<rule>.<exchange>.<symbol>`` and webhooks hold it."""

from __future__ import annotations

import msgspec


class Alert(msgspec.Struct, kw_only=True, gc=False):
    """A rule that came true, published once. Prices in quote units, sizes in base units, times in microseconds."""

    id: str
    """The same however often it is sent."""
    rule: str
    signal: str
    exchange: str
    symbol: str
    interval: str
    timestamp: int
    side: str
    """``buy`` or ``sell``; of a price ``buy`` where it rose through; empty where the signal has none."""
    event: str
    price: float
    low: float
    high: float
    size: float
    value: float
    text: str
    """One line for people."""
    sequence: int
    as_of: int


decode = msgspec.json.Decoder(Alert).decode
encode = msgspec.json.Encoder().encode
