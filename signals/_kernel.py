# mypy: disallow-untyped-decorators=False
"""The hot loops: trades into the two live base candles of each symbol. Compiled.

``fold`` sorts the places of a batch's trades by candle (``_groups``); then each pass below does one thing for all
candles. A pass holds what it sums up in registers and hardly branches, and the compiler vectorises most of them: one
loop that does everything to one trade after the other is up to 1.7 times slower, for its state lies in memory. Passes
are called once a batch: calling a compiled function that takes arrays costs more than all the work on a trade.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._groups import MORE, Groups, Places, arrange, survey
from signals._layout import (
    AS_OF,
    DAY,
    REFERENCE,
    SEQUENCE,
    START,
    TICK,
    Candles,
    Columns,
    Floats,
    Ints,
    Rings,
)  # fmt: skip
from signals._passes import (
    APPLIED,
    OFF_GRID,
    OFF_STEP,
    TOO_LARGE,
    add_moments,
    add_sides,
    find_edges,
    find_rows,
)  # fmt: skip

LIMIT = 4e15
"""Ticks and steps stay below this, so that floats hold them exactly."""


@njit(cache=True, nogil=True)
def fold(
    start: int, batch: Columns, clocks: Ints, base: int, live: Candles, rings: Rings, scale: Floats, grid_day: Ints,
    grid: Ints, grid_scale: Floats, dirty: Ints, counts: Ints, groups: Groups,
) -> tuple[int, int]:  # fmt: skip
    """Apply ``batch`` from index ``start``; returns where it stopped and why.

    ``live`` candle ``2 * slot + parity``, its rings are ``rings``; ``scale[candle]`` = (1/tick, 1/step, ticks per row
    as kept now); ``grid_day``, ``grid``, ``grid_scale`` by (slot, day parity).
    """
    while True:  # every round but the last takes EVENTS_MAX events
        stop, why, touched = survey(start, batch, clocks, base, live.meta, grid_day, groups)
        arrange(stop - start, touched, groups)
        measure(start, touched, batch.price, batch.quantity, live, scale, grid, grid_scale, counts, groups)
        find_edges(start, touched, batch.timestamp, batch.order, live.meta, groups)
        find_rows(touched, live, scale, groups)
        add_sides(start, touched, batch.is_sell, batch.value, live.meta, live.values, rings, groups)
        add_moments(touched, live.meta, counts, groups)
        settle(start, touched, batch.sequence, live.meta, dirty, counts, groups)
        start = stop
        if why != MORE:
            return start, why


@njit(cache=True, nogil=True)
def begin_candle(live: Candles, c: int, begin: int, g: int, grid: Ints) -> None:
    """Write what all trades of a candle share."""
    meta = live.meta
    for column in range(meta.shape[1]):
        meta[c, column] = 0
    for column in range(REFERENCE - TICK + 1):
        meta[c, TICK + column] = grid[c >> 1, g, column]
    live.values[c, 0] = live.values[c, 1] = 0.0
    meta[c, START] = begin


@njit(cache=True, nogil=True)
def leave_out(at: np.uint64, end: np.uint64, order: Places, exact: Floats, amount: Floats) -> np.uint64:
    """Close up over what is too large, or no number; returns the new end."""
    kept = at
    for j in range(at, end):
        if exact[j] < LIMIT and amount[j] < LIMIT:
            order[kept], exact[kept], amount[kept] = order[j], exact[j], amount[j]
            kept += np.uint64(1)
    return kept


@njit(cache=True, nogil=True)
def measure(
    start: int, touched: int, prices: Floats, quantities: Floats, live: Candles, scale: Floats, grid: Ints,
    grid_scale: Floats, counts: Ints, groups: Groups,
) -> None:  # fmt: skip
    """Prices to ticks, quantities to steps; candles that begin get their grid."""
    meta, prices, quantities = live.meta, prices[start:], quantities[start:]
    order, exact, amount, ticks, lots = groups.order, groups.exact, groups.amount, groups.ticks, groups.lots
    too_large = off_grid = off_step = 0
    for n in range(touched):
        c = groups.touched[n]
        at, end, begin = groups.at[c], groups.end[c], groups.begin[c]
        fresh, g = meta[c, START] != begin, (begin // DAY) & 1
        if fresh:
            for column in range(3):
                scale[c, column] = grid_scale[c >> 1, g, column]
        per_tick, per_step = scale[c, 0], scale[c, 1]
        large = 0
        for j in range(at, end):
            i = order[j]
            exact[j], amount[j] = prices[i] * per_tick, quantities[i] * per_step
            large += (not exact[j] < LIMIT) | (not amount[j] < LIMIT)
        if large > 0:
            too_large += large
            end = groups.end[c] = leave_out(at, end, order, exact, amount)
        for j in range(at, end):
            e, a = exact[j], amount[j]
            tick, step = np.floor(e + 0.5), np.floor(a + 0.5)
            off = abs(e - tick) >= max(1e-6, e * 4e-15)
            ticks[j], lots[j] = np.int64(np.floor(e) if off else tick), np.int64(step)
            off_grid += off
            off_step += abs(a - step) >= max(1e-6, a * 4e-15)
        if fresh and end > at:
            begin_candle(live, c, begin, g, grid)
    counts[TOO_LARGE] += too_large
    counts[OFF_GRID] += off_grid
    counts[OFF_STEP] += off_step


@njit(cache=True, nogil=True)
def settle(start: int, touched: int, sequences: Ints, meta: Ints, dirty: Ints, counts: Ints, groups: Groups) -> None:
    """Say of each candle as of when it is, and which symbols changed."""
    for n in range(touched):
        c = groups.touched[n]
        count = np.int64(groups.end[c]) - np.int64(groups.at[c])
        if count > 0:
            i = groups.order[groups.end[c] - np.uint32(1)]
            meta[c, SEQUENCE], meta[c, AS_OF] = sequences[start + i], groups.clock[i]
            dirty[c >> 1] = 1
            counts[APPLIED] += count
        groups.end[c] = 0
