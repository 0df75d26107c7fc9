# mypy: disallow-untyped-decorators=False
"""Exhaustion: aggressor volume dies away row by row toward the extreme."""

from __future__ import annotations

from numba import njit

from signals._layout import Ints


@njit(cache=True)
def exhausted(volume: Ints, count: int, rows: int, percent: int, top: bool) -> bool:
    """Whether the outer ``rows`` rows fall strictly, the last to ``percent`` of the largest row or less."""
    if count < rows:
        return False
    largest = 0
    for i in range(count):
        largest = max(largest, volume[i])
    for n in range(rows - 1):
        outer, inner = (count - 1 - n, count - 2 - n) if top else (n, n + 1)
        if volume[outer] >= volume[inner]:
            return False
    return bool(volume[count - 1 if top else 0] * 100 <= largest * percent)
