# mypy: disallow-untyped-decorators=False
"""Imbalances: buyers of a row against sellers one row below, and sellers against buyers one row above."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import Bytes, Ints

PERCENT = 300
"""An imbalance exceeds this share of its partner."""
STACKED_MIN = 3
"""Consecutive rows of one side that make a stack."""
BUYERS, SELLERS = 1, 2


@njit(cache=True)
def imbalances(
    buy: Ints, sell: Ints, count: int, marks: Bytes, percent: int = PERCENT, inclusive: bool = False,
    zero: bool = False, minimum: int = 0, traded: bool = False, horizontal: bool = False,
) -> int:  # fmt: skip
    """Mark the first ``count`` rows with BUYERS and SELLERS (or both); returns how many marks there are.

    A row must exceed ``percent`` of its partner (``inclusive``: or equal it) and ``minimum`` lots. A partner of 0
    makes no imbalance unless ``zero``. The partner is one row away, or with ``traded`` the next row with a trade, or
    with ``horizontal`` the other side of the same row. The lowest buy and the highest sell have no partner.
    """
    found, below = 0, -1
    strict = 0 if inclusive else 1
    for i in range(count):
        marks[i] = 0
    for i in range(count):
        if traded and buy[i] == 0 and sell[i] == 0:
            continue
        if horizontal:
            lower, upper = i, i
        elif traded:
            lower, upper = below, i
        else:
            lower, upper = i - 1, i
        if lower >= 0:
            bought, sold = buy[upper], sell[lower]
            if bought > minimum and (bought * 100 >= sold * percent + strict if sold > 0 else zero):
                marks[upper] |= BUYERS
                found += 1
            if sold > minimum and (sold * 100 >= bought * percent + strict if bought > 0 else zero):
                marks[lower] |= SELLERS
                found += 1
        below = i
    return found


@njit(cache=True)
def least(buy: Ints, sell: Ints, count: int, lots: int, percentile: int) -> int:
    """What a row must exceed: ``lots``, and the percentile of the candle's own traded volumes by row and side."""
    if percentile <= 0:
        return lots
    traded = np.empty(2 * count, np.int64)
    n = 0
    for i in range(count):
        for volume in (buy[i], sell[i]):
            if volume > 0:
                traded[n] = volume
                n += 1
    if n == 0:
        return lots
    traded = np.sort(traded[:n])
    return int(max(lots, traded[(n - 1) * percentile // 100]))


@njit(cache=True)
def stacks(marks: Bytes, buy: Ints, sell: Ints, count: int, fewest: int, traded: bool, found: Ints) -> int:
    """Runs of ``fewest`` marks of one side or more, into ``found`` as (side, first row, last row, marks), buyers first.

    A row without a mark ends a run; with ``traded`` one without a trade does not.
    """
    n = 0
    for side in (BUYERS, SELLERS):
        run = first = last = 0
        for i in range(count + 1):
            if i < count and marks[i] & side:
                if run == 0:
                    first = i
                last = i
                run += 1
                continue
            if i < count and traded and buy[i] == 0 and sell[i] == 0:
                continue
            if run >= fewest:
                found[n, 0], found[n, 1], found[n, 2], found[n, 3] = side, first, last, run
                n += 1
            run = 0
    return n
