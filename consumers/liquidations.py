"""Forced orders."""

from __future__ import annotations

from consumers._table import Table, is_time, no_text
from schemas.events import Liquidation
from schemas.names import WORD, subject


def _problem(liquidation: Liquidation) -> str:
    if not (liquidation.price > 0 and liquidation.quantity > 0 and liquidation.value > 0):
        return "price, quantity and value must be positive"
    if no_text(liquidation.liquidation_id) or not is_time(liquidation.received):
        return "liquidation_id or received out of bounds"
    return ""


TABLE = Table(
    name="liquidations",
    event=Liquidation,
    stream=WORD["liquidations"].stream,
    subjects=subject("liquidation", "*", "*"),
    keys=("liquidation_id", "exchange", "symbol"),
    symbols=("exchange", "symbol", "side", "coverage"),
    problem=_problem,
    content=lambda liquidation: (liquidation.price, liquidation.quantity, liquidation.side),
)
