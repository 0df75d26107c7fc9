"""What an exchange trades, and the row sizes footprints use."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

Kind = Literal["spot", "perpetual", "future"]
STEP_DEFAULT = 1e-8
"""Quantity step, in base units, of an instrument that names none."""
ROW_SHARE = 0.00002
"""An automatic row is at least 0.002 % of the price."""


class Instrument(msgspec.Struct, frozen=True):
    """One version of an instrument. ``row`` is the footprint row size in quote units, pinned for a UTC day."""

    exchange: str
    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    settle: str
    kind: Kind
    inverse: bool = False
    contract_size: float = 1.0
    tick_size: float | None = None
    quantity_step: float | None = None
    row: float | None = None
    status: str = "trading"
    valid_from: int = 0


decode = msgspec.json.Decoder(Instrument).decode
encode = msgspec.json.Encoder().encode


def inferred_tick(price: float) -> float:
    """A tick for an instrument whose exchange told us none: eight significant digits of ``price``."""
    return float(Decimal(1).scaleb(Decimal(repr(price)).adjusted() - 7))


def automatic_row(price: float, tick: float) -> float:
    """The smallest 1·2·5×10ⁿ ticks that are at least 0.002 % of ``price``, in quote units (CONTRACT: row = "auto")."""
    wanted = Decimal(repr(price)) * Decimal(repr(ROW_SHARE)) / Decimal(repr(tick))
    step = Decimal(1)
    while True:  # at most a few dozen rounds: each is a decade
        for factor in (1, 2, 5):
            if step * factor >= wanted:
                return float(step * factor * Decimal(repr(tick)))
        step *= 10
