"""Which parts of a time line are done, as few numbers as possible."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

SPANS_MAX = 64


class Spans:
    """Half-open spans of µs that do not touch each other. Beyond ``SPANS_MAX`` the oldest is forgotten: done again."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in pairs:
            self.add(begin, end)

    def add(self, begin: int, end: int) -> bool:
        """Mark a span as done; whether that was news."""
        if begin >= end:
            return False
        low, high = bisect_left(self._ends, begin), bisect_right(self._begins, end)
        if high - low == 1 and self._begins[low] <= begin and end <= self._ends[low]:
            return False
        if low < high:
            begin, end = min(begin, self._begins[low]), max(end, self._ends[high - 1])
        self._begins[low:high], self._ends[low:high] = [begin], [end]
        if len(self._begins) > SPANS_MAX:
            del self._begins[0], self._ends[0]
        return True

    def remove(self, begin: int, end: int) -> None:
        """Mark a span as not done."""
        kept = list(self)
        self._begins, self._ends = [], []
        for first, last in kept:
            self.add(first, min(last, begin))
            self.add(max(first, end), last)

    def missing(self, begin: int, end: int) -> list[tuple[int, int]]:
        """What of ``begin`` to before ``end`` is not done, newest first."""
        found, high = [], end
        for first, last in reversed(list(self)):
            if last <= begin or high <= begin:
                break
            if first < high:
                if last < high:
                    found.append((last, high))
                high = first
        if begin < high:
            found.append((begin, high))
        return found

    @property
    def last(self) -> int | None:
        """The end of the newest span."""
        return self._ends[-1] if self._ends else None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._begins, self._ends, strict=True))
