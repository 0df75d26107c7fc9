# mypy: disallow-untyped-decorators=False
"""Absorption as a candle shows it: the largest aggressor row lies at an extreme, and the close far from it."""

from __future__ import annotations

from numba import njit

from signals._layout import Ints

ROWS_MIN = 3
"""A candle of fewer rows has no extremes to speak of."""


@njit(cache=True)
def absorbed(volume: Ints, count: int, close: int, extreme: int, away: int, top: bool) -> int:
    """The row that absorbed the aggressors of ``volume``, or -1; buyers are absorbed at the top, sellers at the bottom.

    The largest row (of equals the outermost) lies in the outer ``extreme`` percent of the candle's rows, and row
    ``close`` at least ``away`` percent of them further in.
    """
    if count < ROWS_MIN:
        return -1
    largest = 0
    for i in range(count):
        if volume[i] > volume[largest] or (top and volume[i] == volume[largest]):
            largest = i
    if volume[largest] == 0:
        return -1
    depth = count - 1 - largest if top else largest
    distance = largest - close if top else close - largest
    span = count - 1
    return largest if depth * 100 <= span * extreme and distance * 100 >= span * away else -1
