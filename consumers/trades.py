"""Every execution."""

from __future__ import annotations

from consumers._table import Table, is_long, is_time, too_long
from schemas.events import Trade
from schemas.names import WORD, subject


def _problem(trade: Trade) -> str:
    if not (trade.price > 0 and trade.quantity > 0 and trade.value > 0):
        return "price, quantity and value must be positive"
    if not trade.trade_id or too_long(trade.trade_id) or not is_long(trade.fills) or not is_time(trade.received):
        return "trade_id, fills or received out of bounds"
    return ""


TABLE = Table(
    name="trades",
    event=Trade,
    stream=WORD["trades"].stream,
    subjects=subject("trade", "*", "*"),
    keys=("trade_id", "exchange", "symbol"),
    symbols=("exchange", "symbol"),
    problem=_problem,
    content=lambda trade: (trade.price, trade.quantity, trade.is_buyer_maker),
)
