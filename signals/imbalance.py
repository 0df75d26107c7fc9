# mypy: disallow-untyped-decorators=False
"""Diagonal imbalances: buyers of a row against sellers one row below, on the contiguous grid."""

from __future__ import annotations

from numba import njit

from signals._layout import Bytes, Ints

PERCENT = 300
"""An imbalance exceeds this share of its diagonal partner, strictly."""
STACKED_MIN = 3
"""Consecutive rows of one side that make a stack."""
BUYERS, SELLERS = 1, 2


@njit(cache=True)
def imbalances(buy: Ints, sell: Ints, count: int, marks: Bytes) -> int:
    """Mark the first ``count`` rows with BUYERS and SELLERS (or both); returns how many marks there are.

    The lowest buy and the highest sell have no partner; a partner of 0 makes no imbalance, so an untraded
    row breaks a stack.
    """
    found = 0
    for i in range(count):
        mark = 0
        if i > 0 and sell[i - 1] > 0 and buy[i] > sell[i - 1] and buy[i] * 100 > sell[i - 1] * PERCENT:
            mark |= BUYERS
            found += 1
        if i < count - 1 and buy[i + 1] > 0 and sell[i] > buy[i + 1] and sell[i] * 100 > buy[i + 1] * PERCENT:
            mark |= SELLERS
            found += 1
        marks[i] = mark
    return found
