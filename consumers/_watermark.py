"""How far a table has come in its stream, on disk, so that a stream that went back or lost its tail is noticed.

JetStream says nothing when retention ran over what we had not read, and a durable whose ack floor lies beyond the
stream's end (a damaged or lost store) waits for ever without an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import structlog

from consumers._rewind import Step, noted

log = structlog.get_logger()
SAVE_EVERY_S = 3.0


class Mark(msgspec.Struct):
    """The stream by its creation time (ISO 8601), and the last sequence dealt with (0: none)."""

    stream: str
    created: str = ""
    sequence: int = 0
    steps: list[Step] = []
    """How far the table was when; what it takes to find back after a loss."""
    rewound: int = 0
    """The unclean start of QuestDB that was answered last, µs."""


class Finding(NamedTuple):
    """What comparing a mark with its stream brought to light, and how many messages are concerned."""

    what: Literal["recreated", "regressed", "hole"]
    messages: int


class Watermark:
    """The mark of one durable, kept in ``directory``; written at most every few seconds."""

    def __init__(self, directory: Path, durable: str, stream: str, monotonic: Callable[[], float]) -> None:
        self._path = directory / f"{durable}.json"
        self._monotonic, self._saved = monotonic, 0.0
        self._changed = False
        self.mark = self._load(stream)

    def _load(self, stream: str) -> Mark:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Mark)
        except FileNotFoundError:
            return Mark(stream)
        except (OSError, msgspec.DecodeError) as error:  # the stream and the table are the truth, this is a hint
            log.warning("watermark_unreadable", path=str(self._path), error=str(error))
            return Mark(stream)

    def compare(self, created: str, first: int, last: int) -> Finding | None:
        """What is wrong with a stream that holds ``first`` to ``last``; the mark is moved so that it is said once."""
        mark = self.mark
        finding = None
        if mark.created and mark.created != created:
            finding = Finding("recreated", last)
            mark.sequence = 0
        elif last < mark.sequence:
            finding = Finding("regressed", mark.sequence - last)
            mark.sequence = 0
        elif mark.created and first > mark.sequence + 1:
            finding = Finding("hole", first - 1 - mark.sequence)
            mark.sequence = first - 1
        if finding or not mark.created:
            mark.created, self._changed = created, True
        return finding

    def advance(self, sequence: int) -> None:
        """Everything up to ``sequence`` is in the table."""
        if sequence > self.mark.sequence:
            self.mark.sequence, self._changed = sequence, True

    def note(self, transactions: int, clock: int, window: int) -> None:
        """The table has taken in ``transactions`` by now (``clock``, µs), with everything up to the mark in them."""
        self.mark.steps = noted(self.mark.steps, Step(clock, self.mark.sequence, transactions), window)
        self._changed = True

    def go_back(self, sequence: int) -> None:
        """The table is read again behind ``sequence``: what was known of it holds no more."""
        self.mark.sequence, self.mark.steps, self._changed = sequence, [], True

    def answered(self, unclean: int) -> None:
        """The start at ``unclean`` (µs) is dealt with."""
        self.mark.rewound, self._changed = unclean, True

    def save(self, *, now: bool = False) -> None:
        """Write the mark if it changed and the last write is a while ago, or ``now``."""
        if not self._changed or (not now and self._monotonic() - self._saved < SAVE_EVERY_S):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        try:
            with beside.open("wb") as file:
                file.write(msgspec.json.encode(self.mark))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:  # a full disk: the next save may do, and the table does not depend on it
            log.warning("watermark_unsaved", path=str(self._path), error=str(error))
        self._saved, self._changed = self._monotonic(), False
