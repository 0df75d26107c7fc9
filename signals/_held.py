"""Events of one series as a set: whatever their order, copies and batches, the same events leave the same state."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

E = TypeVar("E")


class Kept(NamedTuple, Generic[E]):
    """An event, how it ranks among the states of its identity, and the stream sequence it came with (0: a table)."""

    rank: tuple[Any, ...]
    event: E
    sequence: int


class Held(Generic[E]):
    """Each identity once, in its highest rank; none ``horizon`` µs or more before the newest, at most ``count_max``.

    Both bounds look at event times alone, so what is held is a function of what was put, not of when.
    """

    def __init__(self, horizon: int, count_max: int) -> None:
        self._horizon, self._count_max = horizon, count_max
        self._order: list[tuple[int, Any]] = []
        self._kept: dict[tuple[int, Hashable], Kept[E]] = {}
        self._floor: tuple[int, Any] = (-1, None)
        """The highest place that fell over a bound: what lies at it or below was, or would have been, dropped."""

    def put(self, at: int, identity: Hashable, rank: tuple[Any, ...], event: E, sequence: int) -> bool:
        """Take in an event of time ``at``; True where that changed what is held."""
        place = (at, identity)
        held = self._kept.get(place)
        if held is not None:
            # A row of a table is the same event before its message: the message tells the sequence.
            if rank < held.rank or (rank == held.rank and (held.sequence or not sequence)):
                return False
        elif place <= self._floor or (self._order and at <= self._order[-1][0] - self._horizon):
            return False
        else:
            insort(self._order, place)
        self._kept[place] = Kept(rank, event, sequence)
        self._prune()
        return place in self._kept

    def _prune(self) -> None:
        oldest = self._order[-1][0] - self._horizon
        over = max(len(self._order) - self._count_max, 0)
        while over < len(self._order) and self._order[over][0] <= oldest:
            over += 1
        if over:
            self._floor = self._order[over - 1]
            for place in self._order[:over]:
                del self._kept[place]
            del self._order[:over]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[E]:
        """Oldest first; equal times by identity."""
        return (self._kept[place].event for place in self._order)

    def since(self, begin: int) -> list[E]:
        """Those of time ``begin`` or later, oldest first."""
        at = bisect_left(self._order, begin, key=lambda place: place[0])
        return [self._kept[place].event for place in self._order[at:]]

    def get(self, at: int, identity: Hashable) -> E | None:
        """The event of that place."""
        kept = self._kept.get((at, identity))
        return kept.event if kept is not None else None

    def heard(self, at: int, identity: Hashable) -> bool:
        """Whether the event of that place came with a message, not from a table alone."""
        kept = self._kept.get((at, identity))
        return kept is not None and kept.sequence > 0

    @property
    def last(self) -> E:
        """The newest. Raises IndexError where nothing is held."""
        return self._kept[self._order[-1]].event

    @property
    def newest(self) -> int:
        """Time of the newest; 0 where nothing is held."""
        return self._order[-1][0] if self._order else 0

    @property
    def sequence(self) -> int:
        """The highest stream sequence among those held."""
        return max((kept.sequence for kept in self._kept.values()), default=0)
