"""What a table may have lost, and from where in the log it has to be read again.

QuestDB answers before its data is on disk. After a power cut, or with an older copy of its files, rows are gone that
were acknowledged to the log long ago. Two things show it: a start of QuestDB that no clean stop came before, noted by
whoever started it, and a table that has taken in fewer transactions than it had.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas.names import UNCLEAN_START
from schemas.time import HOUR

STEPS_MAX = 1_000


class Step(msgspec.Struct, array_like=True):
    """At ``time`` (µs, our clock) everything up to ``sequence`` was written, in at most ``transactions``."""

    time: int
    sequence: int
    transactions: int


class Loss(NamedTuple):
    """Why rows may be gone, and the sequence to read again from (None: all there is)."""

    reason: str
    start: int | None


def unclean_start(data_dir: Path) -> int:
    """When QuestDB was last started without having been stopped cleanly, µs; 0 where that is not known."""
    try:
        return int((data_dir / UNCLEAN_START).read_text())
    except (OSError, ValueError):
        return 0


def noted(steps: list[Step], step: Step, window: int) -> list[Step]:
    """``steps`` with one more: all of the last ``window`` µs, one an hour of what is older."""
    kept: list[Step] = []
    for old in steps:
        if old.time > step.time - 2 * window or not kept or old.time // HOUR != kept[-1].time // HOUR:
            kept.append(old)
    return [*kept, step][-STEPS_MAX:]


def loss(steps: list[Step], transactions: int, unclean: bool, window: int) -> Loss | None:
    """What ``transactions``, and an ``unclean`` start of QuestDB, say of a table with these steps behind it."""
    if not steps:
        return Loss("unclean_start", None) if unclean else None
    went_back = transactions < steps[-1].transactions
    if not unclean and not went_back:
        return None
    # Within ``window`` before the last write anything may be gone, and whatever came after the last step it still has.
    until = steps[-1].time - window
    sure = [step for step in steps if step.time <= until and step.transactions <= transactions]
    return Loss("transactions" if went_back else "unclean_start", sure[-1].sequence + 1 if sure else None)
