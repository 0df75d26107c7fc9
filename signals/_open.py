# mypy: disallow-untyped-decorators=False
"""The open candles of a symbol: closed part plus live base candles, for every interval at once."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import (
    AS_OF,
    CVD,
    DAY,
    DELTA,
    EMPTY,
    FIRST,
    INCOMPLETE,
    LAST,
    ROWS_MAX,
    SEQUENCE,
    START,
    Bytes,
    Candles,
    Floats,
    Ints,
)  # fmt: skip
from signals._merge import absorb, clear
from signals._render import ROOM, candle

SPAN_FROM, SPAN_TO, SPAN_SEQUENCE, SPAN_START, SPAN_DELTA, SPAN_AS_OF = range(6)
SPAN_COLUMNS = 6


@njit(cache=True, nogil=True)
def view(
    s: int, j: int, durations: Ints, day: int, live: Candles, parts: Candles, touched: Ints, scratch: Candles
) -> bool:
    """Put the open candle of slot ``s`` and interval ``j`` into ``scratch`` 0; False when there is none.

    The open candle is the newest that has a trade. Its cvd is the day's delta up to now; ``day`` is the
    index of the one-day interval.
    """
    clear(scratch, 0)
    count, length = len(durations), durations[j]
    older, newer = 2 * s, 2 * s + 1
    if live.meta[older, START] > live.meta[newer, START]:
        older, newer = newer, older
    part, newest = s * count + j, live.meta[newer, START]
    start = parts.meta[part, START]
    if newest != EMPTY:
        start = newest - newest % length
    if start == EMPTY:
        return False
    if parts.meta[part, START] == start:
        absorb(scratch, 0, parts, part, start)
    total = 0
    today = start - start % DAY
    if parts.meta[s * count + day, START] == today:
        total = parts.meta[s * count + day, DELTA]
    for row in (older, newer):
        begin = live.meta[row, START]
        if begin == EMPTY:
            continue
        if begin - begin % length == start:
            absorb(scratch, 0, live, row, start)
        if begin - begin % DAY == today:
            total += live.meta[row, DELTA]
    scratch.meta[0, CVD] = total
    scratch.meta[0, SEQUENCE] = max(scratch.meta[0, SEQUENCE], touched[s, 0])
    scratch.meta[0, AS_OF] = max(scratch.meta[0, AS_OF], touched[s, 1])
    return True


@njit(cache=True, nogil=True)
def straighten(source: Candles, s: int, buy: Ints, sell: Ints) -> int:
    """Copy the rows of candle ``s``, ascending, to ``buy`` and ``sell``; returns how many."""
    mask = source.buy.shape[1] - 1
    first, last = source.meta[s, FIRST], source.meta[s, LAST]
    for bucket in range(first, last + 1):
        buy[bucket - first] = source.buy[s, bucket & mask]
        sell[bucket - first] = source.sell[s, bucket & mask]
    return int(last - first + 1)


@njit(cache=True, nogil=True)
def _mark(scratch: Candles, length: int, holes: Ints, begin: int, end: int) -> None:
    """Say whether the candle in ``scratch`` is complete, where rows ``begin`` to ``end`` of ``holes`` touch it."""
    start, missing = scratch.meta[0, START], -1
    for n in range(begin, end):
        if holes[n, 0] < start + length and holes[n, 1] >= start:
            missing = max(missing, holes[n, 2])
    if missing >= 0:
        scratch.meta[0, INCOMPLETE] = missing


@njit(cache=True, nogil=True)
def render_open(
    out: Bytes,
    slots: Ints,
    durations: Ints,
    shown: Ints,
    day: int,
    live: Candles,
    parts: Candles,
    touched: Ints,
    scratch: Candles,
    spans: Ints,
    holes_at: Ints,
    holes: Ints,
    options: Floats,
) -> int:
    """Write the open candles of ``slots``; returns how many slots were done before ``out`` was full.

    ``spans[i, j]`` = (from, to) in ``out``, sequence, open time, delta, event time;
    from = -1 where none is open or shown. ``holes`` and ``holes_at`` are what ``Gaps.table`` made of ``slots``.
    """
    buy, sell = np.zeros(ROWS_MAX, np.int64), np.zeros(ROWS_MAX, np.int64)
    marks = np.zeros(ROWS_MAX, np.uint8)
    at = 0
    for i in range(len(slots)):
        if at + ROOM * len(durations) > len(out):
            return i
        for j in range(len(durations)):
            spans[i, j, SPAN_FROM] = -1
            if not view(slots[i], j, durations, day, live, parts, touched, scratch):
                continue
            spans[i, j, SPAN_SEQUENCE] = scratch.meta[0, SEQUENCE]
            spans[i, j, SPAN_START] = scratch.meta[0, START]
            spans[i, j, SPAN_DELTA] = scratch.meta[0, DELTA]
            spans[i, j, SPAN_AS_OF] = scratch.meta[0, AS_OF]
            if not shown[j]:
                continue
            _mark(scratch, durations[j], holes, holes_at[i], holes_at[i + 1])
            count = straighten(scratch, 0, buy, sell)
            spans[i, j, SPAN_FROM] = at
            at = candle(out, at, scratch.meta[0], buy, sell, count, False, marks, options)
            spans[i, j, SPAN_TO] = at
    return len(slots)
