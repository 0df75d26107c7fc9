# mypy: disallow-untyped-decorators=False
"""Which trades of a batch belong to which live candle: their places, candle by candle. Compiled.

Candles know nothing of each other, so a batch may be folded one candle at a time (``_kernel``) and comes out the same.
Nothing is moved: a counting sort of places costs a few nanoseconds a trade, moving their columns several times that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from signals._layout import (
    CLOCK,
    CLOSES,
    CURRENT,
    DAY,
    DAY_BEFORE,
    DAY_NOW,
    GRACE,
    PARITY,
    START,
    Columns,
    Floats,
    Ints,
)  # fmt: skip

DONE, CLOSING, LATE, GRID, MORE = range(5)
"""Why ``survey`` stopped: batch done · a candle may close · a late trade · no grid for its day · enough for now."""
EVENTS_MAX = 16_384
NONE = 2**32 - 1
Places = npt.NDArray[np.uint32]


class Groups(NamedTuple):
    """Room for ``EVENTS_MAX`` events and every live candle; holds nothing once a batch is folded."""

    candle: Places
    """Of each event; NONE of a clock event."""
    clock: Ints
    """Event time of its exchange once the event was seen."""
    order: Places
    """Events by candle, in stream order within one; counted from where the survey began."""
    at: Places
    end: Places
    """By candle: its part of ``order``. At rest ``end`` is 0."""
    begin: Ints
    """By candle: its open time."""
    touched: Places
    """Candles that have events."""
    exact: Floats
    amount: Floats
    ticks: Ints
    lots: Ints
    place: Places
    """Price and size in ticks and steps, as they come and whole, and place in the rings; as ``order`` has it."""


def groups(candles: int) -> Groups:
    """Empty, for so many live candles."""
    return Groups(
        np.zeros(EVENTS_MAX, np.uint32),
        np.zeros(EVENTS_MAX, np.int64),
        np.zeros(EVENTS_MAX, np.uint32),
        np.zeros(candles, np.uint32),
        np.zeros(candles, np.uint32),
        np.zeros(candles, np.int64),
        np.zeros(candles, np.uint32),
        np.zeros(EVENTS_MAX),
        np.zeros(EVENTS_MAX),
        np.zeros(EVENTS_MAX, np.int64),
        np.zeros(EVENTS_MAX, np.int64),
        np.zeros(EVENTS_MAX, np.uint32),
    )


@njit(cache=True, nogil=True)
def survey(
    start: int, batch: Columns, clocks: Ints, base: int, meta: Ints, grid_day: Ints, into: Groups
) -> tuple[int, int, int]:
    """Move event time on from event ``start``; returns where it stopped, why, and how many candles have events.

    The candle of each event is noted, and ``end`` counts those of a candle.
    """
    exchange, slots, stamps = batch.exchange[start:], batch.slot[start:], batch.timestamp[start:]
    candles, clocked, count, begins = into.candle, into.clock, into.end, into.begin
    stop, why = len(stamps), DONE
    if stop > EVENTS_MAX:
        stop, why = EVENTS_MAX, MORE
    touched, x = 0, -1
    last, run = np.uint32(NONE), 0
    clock = begin = limit = parity = day = 0
    for i in range(stop):
        t, s = stamps[i], slots[i]
        if exchange[i] != x or t < begin or t >= limit:  # not the same base interval as the event before
            if x >= 0:
                clocks[x, CLOCK] = clock
            x = exchange[i]
            clock = clocks[x, CLOCK]
            if t > clock:
                if t >= clocks[x, CLOSES]:
                    stop, why = i, CLOSING
                    break
                clock = clocks[x, CLOCK] = t
                if t >= clocks[x, CURRENT] + base:
                    clocks[x, CURRENT] = t - t % base
                    clocks[x, PARITY] = (t // base) & 1
                    clocks[x, DAY_NOW] = t // DAY
                    clocks[x, DAY_BEFORE] = (clocks[x, CURRENT] - base) // DAY
            begin, parity, day = clocks[x, CURRENT], clocks[x, PARITY], clocks[x, DAY_NOW]
            limit = min(begin + base, clocks[x, CLOSES])
            if t < begin and s >= 0:
                limit, begin, parity, day = begin, begin - base, 1 - parity, clocks[x, DAY_BEFORE]
                if t < begin or begin + base + GRACE <= clock:
                    stop, why = i, LATE
                    break
        clock = max(clock, t)
        clocked[i] = clock
        if s < 0:
            candles[i] = NONE
            continue
        c = np.uint32(2 * s + parity)
        candles[i] = c
        if c == last:
            run += 1
            continue
        if run > 0:
            count[last] += run
        last, run = c, 0
        if count[c] == 0:
            if meta[c, START] != begin and grid_day[s, day & 1] != day:
                stop, why = i, GRID
                break
            begins[c] = begin
            into.touched[touched] = c
            touched += 1
        run = 1
    if run > 0:
        count[last] += run
    if x >= 0:
        clocks[x, CLOCK] = clock
    return start + stop, why, touched


@njit(cache=True, nogil=True)
def arrange(count: int, touched: int, into: Groups) -> None:
    """Put the places of ``count`` events surveyed in order by candle."""
    candles, order, at, end = into.candle, into.order, into.at, into.end
    total = np.uint32(0)
    for n in range(touched):
        c = into.touched[n]
        at[c] = total
        total += end[c]
        end[c] = at[c]
    if touched == 1 and total == count:  # nothing to put in order
        end[into.touched[0]] = total
        for i in range(count):
            order[i] = i
        return
    for i in range(count):
        c = candles[i]
        if c != NONE:
            order[end[c]] = i
            end[c] += 1
