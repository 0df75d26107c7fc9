# mypy: disallow-untyped-decorators=False
"""Products too large for one integer, and sums of them: compiled. What they are for: ``_moments``."""

from __future__ import annotations

from numba import njit

from signals._layout import FIRST_HIGH, SECOND_HIGH, Ints

DISTANCE_MAX = 2_000_000_000
"""A trade further from the day's first price than so many ticks is left out of the moments, and counted."""
SQUARE_MAX = 1e26
"""Likewise one whose ``d² × lots`` is more."""
PLAIN_MAX = 4e18
"""Below this a product fits one integer."""


@njit(cache=True, nogil=True)
def products(d: int, lots: int) -> tuple[int, int, int, int]:
    """``d × lots`` and ``d² × lots``, each as (high, low), where they may not fit one integer."""
    upper, lower = lots >> 26, lots & 0x3FFFFFF
    p, low_1 = d * upper, d * lower
    high_1 = p >> 6
    low_1 += (p & 63) << 26
    square = d * d
    most, least = square >> 31, square & 0x7FFFFFFF
    x, y, z = least * upper, most * lower, most * upper
    high_2 = (x >> 6) + (y >> 1) + (z << 25)
    low_2 = least * lower
    high_2 += low_2 >> 32
    low_2 = (low_2 & 0xFFFFFFFF) + ((x & 63) << 26) + ((y & 1) << 31)
    return high_1 + (low_1 >> 32), low_1 & 0xFFFFFFFF, high_2, low_2


@njit(cache=True, nogil=True)
def add_moments(meta: Ints, t: int, other: Ints, s: int) -> None:
    """Add those of candle ``s`` of ``other``, of the same day, to candle ``t``."""
    for high in (FIRST_HIGH, SECOND_HIGH):
        low = meta[t, high + 1] + other[s, high + 1]
        meta[t, high] += other[s, high] + (low >> 32)
        meta[t, high + 1] = low & 0xFFFFFFFF
