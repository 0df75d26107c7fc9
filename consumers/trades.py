"""Every execution."""

from __future__ import annotations

from consumers._table import LONG_MAX, TEXT_CHARACTERS_MAX, TIME_MAX, Table
from schemas.events import Trade
from schemas.names import WORD, subject


def _problem(trade: Trade) -> str:
    if not (trade.price > 0 and trade.quantity > 0 and trade.value > 0):
        return "price, quantity and value must be positive"
    if not 0 < len(trade.trade_id) <= TEXT_CHARACTERS_MAX:
        return "trade_id is empty or too long"
    if not 0 <= trade.received <= TIME_MAX or not 0 < trade.fills <= LONG_MAX:
        return "received or fills out of bounds"
    return ""


TABLE = Table(
    name="trades",
    event=Trade,
    stream=WORD["trades"].stream,
    subjects=subject("trade", "*", "*"),
    keys=("trade_id", "exchange", "symbol"),
    symbols=("exchange", "symbol"),
    problem=_problem,
    refilled=True,
    content=lambda trade: (trade.price, trade.quantity, trade.is_buyer_maker),
)
