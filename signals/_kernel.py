# mypy: disallow-untyped-decorators=False
"""The hot loop: trades into the two live base candles of each symbol. Compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import (
    AS_OF,
    BUY,
    BUYS,
    CLOCK,
    CLOSE,
    CLOSE_ID,
    CLOSE_TIME,
    CLOSES,
    CURRENT,
    DAY,
    DAY_BEFORE,
    DAY_NOW,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    FIRST,
    FIRST_HIGH,
    FIRST_LOW,
    GRACE,
    HIGH,
    LAST,
    LIVE_ROWS,
    LOW,
    OPEN,
    OPEN_ID,
    OPEN_TIME,
    PARITY,
    REFERENCE,
    SECOND_HIGH,
    SECOND_LOW,
    SELL,
    SELLS,
    SEQUENCE,
    SHIFT,
    START,
    TICK,
    Candles,
    Columns,
    Floats,
    Ints,
)  # fmt: skip
from signals._products import DISTANCE_MAX, PLAIN_MAX, SQUARE_MAX, products

DONE, CLOSING, LATE, GRID, WIDE = range(5)
"""Why ``fold`` stopped: batch done · a candle may close · trade ``i`` is late · no grid for its day · row too fine."""
TOO_LARGE, OFF_GRID, OFF_STEP, APPLIED, TOO_FAR = range(5)
"""What ``fold`` counts."""
LIMIT = 4e15
ROOM = 1 << 61
"""Ticks and steps stay below this, so that floats hold them exactly."""


@njit(cache=True, nogil=True)
def fold(
    start: int,
    batch: Columns,
    clocks: Ints,
    base: int,
    live: Candles,
    scale: Floats,
    grid_day: Ints,
    grid: Ints,
    grid_scale: Floats,
    dirty: Ints,
    counts: Ints,
) -> tuple[int, int]:
    """Apply ``batch`` from index ``start``; returns where it stopped and why.

    ``live`` candle ``2 * slot + parity``; ``scale[candle]`` = (1/tick, 1/step, ticks per row as kept now);
    ``grid_day``, ``grid``, ``grid_scale`` by (slot, day parity). Written out whole: a call per trade that
    takes arrays costs ten times the work itself.
    """
    exchange, slots, timestamps, orders = batch.exchange, batch.slot, batch.timestamp, batch.order
    prices, quantities, quote, is_sell, sequences = (
        batch.price, batch.quantity, batch.value, batch.is_sell, batch.sequence,
    )  # fmt: skip
    meta, values, buy, sell, buys, sells = live
    mask = LIVE_ROWS - 1
    for i in range(start, len(timestamps)):
        x, t, s = exchange[i], timestamps[i], slots[i]
        if t > clocks[x, CLOCK]:
            if t >= clocks[x, CLOSES]:
                return i, CLOSING
            clocks[x, CLOCK] = t
            if t >= clocks[x, CURRENT] + base:
                clocks[x, CURRENT] = t - t % base
                clocks[x, PARITY] = (t // base) & 1
                clocks[x, DAY_NOW] = t // DAY
                clocks[x, DAY_BEFORE] = (clocks[x, CURRENT] - base) // DAY
        if s < 0:
            continue
        begin, parity, day = clocks[x, CURRENT], clocks[x, PARITY], clocks[x, DAY_NOW]
        if t < begin:
            begin, parity, day = begin - base, 1 - parity, clocks[x, DAY_BEFORE]
            if t < begin or begin + base + GRACE <= clocks[x, CLOCK]:
                return i, LATE
        row = 2 * s + parity
        fresh = meta[row, START] != begin
        if fresh:
            if grid_day[s, day & 1] != day:
                return i, GRID
            scale[row, 0], scale[row, 1], scale[row, 2] = (
                grid_scale[s, day & 1, 0], grid_scale[s, day & 1, 1], grid_scale[s, day & 1, 2],
            )  # fmt: skip
        exact = prices[i] * scale[row, 0]
        amount = quantities[i] * scale[row, 1]
        if not (exact < LIMIT and amount < LIMIT):
            counts[TOO_LARGE] += 1
            continue
        nearest = np.floor(exact + 0.5)
        if abs(exact - nearest) >= max(1e-6, exact * 4e-15):
            nearest = np.floor(exact)
            counts[OFF_GRID] += 1
        whole = np.floor(amount + 0.5)
        if abs(amount - whole) >= max(1e-6, amount * 4e-15):
            counts[OFF_STEP] += 1
        # Quotients of integers below 2^53 are rounded correctly, so the floor is the integer one.
        bucket = np.int64(np.floor(nearest / scale[row, 2]))
        k, lots = np.int64(nearest), np.int64(whole)
        order = orders[i]
        if fresh:
            for column in range(START, TICK):
                meta[row, column] = 0
            for column in range(REFERENCE - TICK + 1):
                meta[row, TICK + column] = grid[s, day & 1, column]
            for column in range(FIRST_HIGH, SECOND_LOW + 1):
                meta[row, column] = 0
            values[row, 0] = values[row, 1] = 0.0
            meta[row, START] = begin
            meta[row, OPEN] = meta[row, CLOSE] = meta[row, HIGH] = meta[row, LOW] = k
            meta[row, OPEN_TIME] = meta[row, CLOSE_TIME] = t
            meta[row, OPEN_ID] = meta[row, CLOSE_ID] = order
            meta[row, FIRST] = meta[row, LAST] = bucket
        else:
            if bucket < meta[row, FIRST]:
                if meta[row, LAST] - bucket > mask:
                    return i, WIDE
                meta[row, FIRST] = bucket
            elif bucket > meta[row, LAST]:
                if bucket - meta[row, FIRST] > mask:
                    return i, WIDE
                meta[row, LAST] = bucket
            known = order >= 0
            if t > meta[row, CLOSE_TIME] or (
                t == meta[row, CLOSE_TIME] and not (known and meta[row, CLOSE_ID] >= 0 and order < meta[row, CLOSE_ID])
            ):
                meta[row, CLOSE], meta[row, CLOSE_TIME], meta[row, CLOSE_ID] = k, t, order
            if t < meta[row, OPEN_TIME] or (
                t == meta[row, OPEN_TIME] and known and meta[row, OPEN_ID] >= 0 and order < meta[row, OPEN_ID]
            ):
                meta[row, OPEN], meta[row, OPEN_TIME], meta[row, OPEN_ID] = k, t, order
            if k > meta[row, HIGH]:
                meta[row, HIGH] = k
            elif k < meta[row, LOW]:
                meta[row, LOW] = k
        place = bucket & mask
        if is_sell[i]:
            sell[row, place] += lots
            sells[row, place] += 1
            meta[row, SELL] += lots
            meta[row, SELLS] += 1
            values[row, 1] += quote[i]
            meta[row, DELTA] -= lots
            if meta[row, DELTA] < meta[row, DELTA_MIN]:
                meta[row, DELTA_MIN] = meta[row, DELTA]
        else:
            buy[row, place] += lots
            buys[row, place] += 1
            meta[row, BUY] += lots
            meta[row, BUYS] += 1
            values[row, 0] += quote[i]
            meta[row, DELTA] += lots
            if meta[row, DELTA] > meta[row, DELTA_MAX]:
                meta[row, DELTA_MAX] = meta[row, DELTA]
        d = k - meta[row, REFERENCE]
        square = nearest - meta[row, REFERENCE]
        square *= square * whole
        if square < PLAIN_MAX:
            first, second = meta[row, FIRST_LOW] + d * lots, meta[row, SECOND_LOW] + d * d * lots
            if abs(first) >= ROOM or second >= ROOM:
                meta[row, FIRST_HIGH] += first >> 32
                meta[row, SECOND_HIGH] += second >> 32
                first, second = first & 0xFFFFFFFF, second & 0xFFFFFFFF
            meta[row, FIRST_LOW], meta[row, SECOND_LOW] = first, second
        elif square < SQUARE_MAX and abs(d) < DISTANCE_MAX:
            more = products(int(d), int(lots))
            meta[row, FIRST_HIGH] += more[0]
            meta[row, SECOND_HIGH] += more[2]
            first, second = meta[row, FIRST_LOW] + more[1], meta[row, SECOND_LOW] + more[3]
            meta[row, FIRST_HIGH] += first >> 32
            meta[row, SECOND_HIGH] += second >> 32
            meta[row, FIRST_LOW], meta[row, SECOND_LOW] = first & 0xFFFFFFFF, second & 0xFFFFFFFF
        else:
            counts[TOO_FAR] += 1
        meta[row, SEQUENCE] = sequences[i]
        meta[row, AS_OF] = clocks[x, CLOCK]
        dirty[s] = 1
        counts[APPLIED] += 1
    return len(timestamps), DONE


@njit(cache=True, nogil=True)
def widen(live: Candles, scale: Floats, row: int) -> None:
    """Double the row size of a live candle: floor(floor(k/m)/2) = floor(k/2m), so nothing is lost."""
    meta = live.meta
    first, last = meta[row, FIRST], meta[row, LAST]
    mask = LIVE_ROWS - 1
    for lots in (live.buy, live.sell):
        old = lots[row].copy()
        lots[row] = 0
        for bucket in range(first, last + 1):
            lots[row, (bucket >> 1) & mask] += old[bucket & mask]
    for counts in (live.buys, live.sells):
        counted = counts[row].copy()
        counts[row] = 0
        for bucket in range(first, last + 1):
            counts[row, (bucket >> 1) & mask] += counted[bucket & mask]
    meta[row, FIRST], meta[row, LAST] = first >> 1, last >> 1
    meta[row, SHIFT] += 1
    scale[row, 2] *= 2.0
