"""Holes in the trades of each symbol, and the candles they touch: a function of what is told, not of its order."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import msgspec
import numpy as np

from schemas.events import Gap
from signals._layout import Ints
from signals._redis import Watermark

MISSING = ("open", "partial", "unfillable")
"""States in which trades are missing; ``filled`` and ``nonexistent`` mean that none is."""
UNSETTLED = ("open", "partial")
HELD_MAX = 500
"""Gaps held of one symbol."""
_FINAL = 2**62
Who: TypeAlias = tuple[str, str]
"""(exchange, symbol)."""
Span: TypeAlias = tuple[int, int]


class Hole(msgspec.Struct, array_like=True):
    """A gap in its latest state: [begin, end] in µs, both included. ``widest`` is the furthest end it ever had."""

    begin: int
    end: int
    widest: int
    status: str
    revision: int
    updated: int

    @property
    def is_missing(self) -> bool:
        """Whether trades are missing."""
        return self.status in MISSING


class Gaps:
    """The latest state of every gap in trades, within bounds. ``reach`` (µs) is how far back candles are kept."""

    def __init__(self) -> None:
        self._held: dict[Who, dict[tuple[int, str], Hole]] = {}
        self.reach = _FINAL
        self.watermark = Watermark(0, "")
        """The last message of the gap stream in it."""
        self.joined = 0
        """Gaps that were made one with a neighbour: too many were held."""

    def take(self, gap: Gap) -> Span | None:
        """Take in a state of a gap; the times whose candles it may concern, None where nothing is new."""
        end = max(gap.to_timestamp, gap.timestamp)
        hole = Hole(gap.timestamp, end, end, gap.status, gap.revision, gap.updated)
        return self.learn((gap.exchange, gap.symbol), gap.from_id or "", hole)

    def learn(self, who: Who, from_id: str, hole: Hole) -> Span | None:
        """Like ``take``. An older state changes nothing."""
        held = self._held.setdefault(who, {})
        known = held.get((hole.begin, from_id))
        if known is not None:
            if (hole.revision, hole.updated) <= (known.revision, known.updated):
                return None
            hole.widest = max(hole.widest, known.widest)
        held[hole.begin, from_id] = hole
        begin, end = hole.begin, hole.widest
        if len(held) > HELD_MAX:
            joined = self._bound(held)
            if joined is not None:
                begin, end = min(begin, joined[0]), max(end, joined[1])
        return begin, end

    def _bound(self, held: dict[tuple[int, str], Hole]) -> Span | None:
        """Drop what no candle reaches, then what is whole, oldest first; then make the two nearest one."""
        last = max(hole.begin for hole in held.values()) - self.reach
        for place in sorted(held, key=lambda place: (held[place].widest >= last, held[place].is_missing, place)):
            if len(held) <= HELD_MAX:
                return None
            if held[place].widest < last or not held[place].is_missing:
                del held[place]
        if len(held) <= HELD_MAX:
            return None
        places = sorted(held)
        distances = [held[b].begin - held[a].end for a, b in pairwise(places)]
        n = distances.index(min(distances))
        one, other = held[places[n]], held.pop(places[n + 1])
        status = "open" if {one.status, other.status} & set(UNSETTLED) else "unfillable"
        end, widest = max(one.end, other.end), max(one.widest, other.widest)
        # Of two that are one, neither can be settled any more.
        held[places[n]] = Hole(one.begin, end, widest, status, _FINAL, max(one.updated, other.updated))
        self.joined += 1
        return one.begin, widest

    def told(self, who: Who, begin: int, end: int) -> bool | None:
        """Whether trades of [begin, end) are missing; None where no gap is known to touch it."""
        touching = [h.is_missing for h in self._held.get(who, {}).values() if h.begin < end and h.end >= begin]
        return any(touching) if touching else None

    def changed(self, who: Who, begin: int, end: int) -> int:
        """When (µs) a gap that touches [begin, end), or did, changed last; 0 where there is none."""
        held = self._held.get(who, {}).values()
        return max((hole.updated for hole in held if hole.begin < end and hole.widest >= begin), default=0)

    def unsettled(self, who: Who) -> int:
        """How many gaps are open: trades are missing that may still come."""
        return sum(hole.status in UNSETTLED for hole in self._held.get(who, {}).values())

    def missing(self) -> int:
        """How many gaps of all symbols miss trades."""
        return sum(hole.is_missing for held in self._held.values() for hole in held.values())

    def table(self, whose: list[Who]) -> tuple[Ints, Ints]:
        """For kernels: rows (begin, end, missing); those of ``whose[i]`` are ``rows[places[i]:places[i + 1]]``."""
        places = np.zeros(len(whose) + 1, np.int64)
        rows: list[tuple[int, int, int]] = []
        if self._held:
            for n, who in enumerate(whose):
                rows += [(hole.begin, hole.end, hole.is_missing) for hole in self._held.get(who, {}).values()]
                places[n + 1] = len(rows)
        return places, np.array(rows, np.int64).reshape(len(rows), 3)

    def dump(self) -> list[tuple[str, str, str, Hole]]:
        """(exchange, symbol, from_id, hole) of every gap held."""
        return [(*who, at[1], hole) for who, held in self._held.items() for at, hole in held.items()]

    def load(self, dumped: list[tuple[str, str, str, Hole]], watermark: Watermark) -> None:
        """Put back what ``dump`` gave."""
        for exchange, symbol, from_id, hole in dumped:
            self._held.setdefault((exchange, symbol), {})[hole.begin, from_id] = hole
        self.watermark = watermark
