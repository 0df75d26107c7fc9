"""Open contracts; the first figure of a poll slot."""

from __future__ import annotations

from consumers._table import Table, is_time
from schemas.events import OpenInterest
from schemas.names import WORD, subject


def _problem(event: OpenInterest) -> str:
    if event.open_interest < 0 or (event.value or 0) < 0 or not is_time(event.received):
        return "open_interest, value or received out of bounds"
    return ""


TABLE = Table(
    name="open_interest",
    event=OpenInterest,
    stream=WORD["open_interest"].stream,
    subjects=subject("open_interest", "*", "*"),
    keys=("exchange", "symbol"),
    symbols=("exchange", "symbol"),
    problem=_problem,
)
