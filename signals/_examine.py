# mypy: disallow-untyped-decorators=False
"""What a closed candle shows by itself: stacks, unfinished auctions, absorption, exhaustion. Compiled, pure."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import CLOSE, FIRST, ROW, SHIFT, Floats, Ints
from signals._options import (
    ABSORBED_CLOSE,
    ABSORBED_EXTREME,
    AREA,
    EXHAUSTED_PERCENT,
    EXHAUSTED_ROWS,
    PAIRS,
    STACK,
    TRADED,
)  # fmt: skip
from signals._render import marked, unfinished
from signals.absorption import absorbed
from signals.exhaustion import exhausted
from signals.imbalance import stacks
from signals.value_area import value_area

HIGH_OPEN, LOW_OPEN, CONTROL, ABSORBED_BUYS, ABSORBED_SELLS, EXHAUSTED_BUYS, EXHAUSTED_SELLS, STACKS = range(8)
"""Of the first row of the answer; absorption gives a row index or -1, exhaustion and unfinished 0 or 1."""


@njit(cache=True, nogil=True)
def examine(meta: Ints, buy: Ints, sell: Ints, options: Floats) -> Ints:
    """Row 0: the columns above. The rows after it: each stack as (side, first row, last row, count, its volume)."""
    count = len(buy)
    fewest = int(options[STACK])
    found = np.zeros((2 * count // fewest + 3, 8), np.int64)
    marks = np.zeros(count, np.uint8)
    if marked(meta, buy, sell, count, marks, options) >= fewest:
        found[0, STACKS] = stacks(marks, buy, sell, count, fewest, options[TRADED] > 0, found[1:])
        for n in range(1, found[0, STACKS] + 1):
            own = buy if found[n, 0] == 1 else sell
            for i in range(found[n, 1], found[n, 2] + 1):
                found[n, 4] += own[i]
    high, low = unfinished(meta, buy, sell, count, options)
    found[0, HIGH_OPEN], found[0, LOW_OPEN] = high, low
    found[0, CONTROL] = value_area(buy, sell, count, int(options[AREA]), 2 if options[PAIRS] > 0 else 1)[0]
    at = meta[CLOSE] // (meta[ROW] << meta[SHIFT]) - meta[FIRST]
    extreme, away = int(options[ABSORBED_EXTREME]), int(options[ABSORBED_CLOSE])
    found[0, ABSORBED_BUYS] = absorbed(buy, count, at, extreme, away, True)
    found[0, ABSORBED_SELLS] = absorbed(sell, count, at, extreme, away, False)
    rows, percent = int(options[EXHAUSTED_ROWS]), int(options[EXHAUSTED_PERCENT])
    found[0, EXHAUSTED_BUYS] = exhausted(buy, count, rows, percent, True)
    found[0, EXHAUSTED_SELLS] = exhausted(sell, count, rows, percent, False)
    return found
