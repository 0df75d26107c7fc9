"""Holes, each with its latest state."""

from __future__ import annotations

from consumers._table import Table, is_long, is_time, no_word, too_long
from schemas.events import Gap
from schemas.names import WORD, subject


def _problem(gap: Gap) -> str:
    if no_word(gap.channel) or too_long(gap.from_id, gap.to_id, gap.cause, gap.evidence):
        return "channel, from_id, to_id, cause or evidence out of bounds"
    if not is_long(gap.expected, gap.filled, gap.revision):
        return "expected, filled or revision out of bounds"
    if not is_time(gap.received, gap.from_timestamp, gap.to_timestamp, gap.updated):
        return "received, from_timestamp, to_timestamp or updated out of bounds"
    return ""


TABLE = Table(
    name="gaps",
    event=Gap,
    stream=WORD["gaps"].stream,
    subjects=subject("gap", "*", "*"),
    keys=("exchange", "symbol", "channel", "from_id"),
    symbols=("exchange", "symbol", "channel", "status"),
    times=("received", "from_timestamp", "to_timestamp", "updated"),
    problem=_problem,
    version=lambda gap, _: (gap.revision, gap.updated),
    versions="gaps_revised",
)
