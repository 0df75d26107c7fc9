# mypy: disallow-untyped-decorators=False
"""High and low volume nodes: rows that stand out among their neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import Bytes, Ints

HIGH, LOW = 1, 2


@njit(cache=True)
def nodes(
    buy: Ints, sell: Ints, count: int, marks: Bytes, around: int = 3, smooth: bool = False, prominence: int = 0
) -> int:
    """Mark the first ``count`` rows with HIGH or LOW; returns how many are marked.

    A high node holds strictly more than each of the ``around`` rows above and below, a low node strictly less; the
    outer ``around`` rows never qualify, and of equal neighbours the middle row stands for all (of two the lower).
    With ``smooth`` each row counts with the one above and the one below. ``prominence`` is the percent of the largest
    row by which a node must rise over the higher of the two dips that part it from more volume (low: fall likewise).
    """
    volume = np.zeros(count, np.int64)
    for i in range(count):
        marks[i] = 0
        volume[i] = buy[i] + sell[i]
    if smooth:
        raw = volume.copy()
        for i in range(count):
            volume[i] = raw[i] + (raw[i - 1] if i > 0 else 0) + (raw[i + 1] if i < count - 1 else 0)
    largest = volume.max() if count else 0
    found, i = 0, 0
    while i < count:
        j = i
        while j + 1 < count and volume[j + 1] == volume[i]:
            j += 1
        if i >= around and j + around < count:
            for sign in (1, -1):
                stands = True
                for step in range(1, around + 1):
                    if sign * volume[i - step] >= sign * volume[i] or sign * volume[j + step] >= sign * volume[i]:
                        stands = False
                        break
                if not stands:
                    continue
                nearest = -1
                for way, edge in ((-1, i), (1, j)):
                    dip, n = sign * volume[i], edge + way
                    while 0 <= n < count and sign * volume[n] <= sign * volume[i]:
                        dip = min(dip, sign * volume[n])
                        n += way
                    rise = sign * volume[i] - dip
                    nearest = rise if nearest < 0 else min(nearest, rise)
                if nearest * 100 >= prominence * largest:
                    marks[(i + j) // 2] = HIGH if sign > 0 else LOW
                    found += 1
        i = j + 1
    return found
