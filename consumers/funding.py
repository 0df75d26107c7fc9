"""Funding rates; the first of a poll slot, and every change of the next funding time."""

from __future__ import annotations

from consumers._table import Table, is_time
from schemas.events import Funding
from schemas.names import WORD, subject


def _problem(event: Funding) -> str:
    if not is_time(event.received, event.next_funding):
        return "received or next_funding out of bounds"
    if not all(value is None or value > 0 for value in (event.interval_hours, event.mark_price, event.index_price)):
        return "interval_hours, mark_price and index_price must be positive"
    return ""


TABLE = Table(
    name="funding",
    event=Funding,
    stream=WORD["funding"].stream,
    subjects=subject("funding", "*", "*"),
    keys=("exchange", "symbol"),
    symbols=("exchange", "symbol"),
    times=("received", "next_funding"),
    problem=_problem,
)
