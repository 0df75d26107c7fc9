# mypy: disallow-untyped-decorators=False
"""What single trades show: taker orders put together again, sweeps and absorption. Compiled; one pass in stream order.

``ints`` and ``floats`` hold one row a slot (columns below), ``sizes`` a histogram of its order sizes. What is found is
written to ``out`` and ``values``. Nothing here depends on where batches are cut.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._kernel import LIMIT
from signals._layout import DAY, ROW, STEP, STEP_DECIMALS, TICK, Columns, Counts, Floats, Ints

TIME, DAY_OF, ORDERS, LARGE_MIN, SWEEP_MIN, STEP_OF, STEP_PLACES = range(7)
O_TIME, O_SIDE, O_FIRST, O_LAST, O_LOW, O_HIGH, O_LOTS, O_COUNT, O_LARGE = range(7, 16)
S_TIME, S_FIRST, S_LAST, S_LEVELS, S_LOTS, S_COUNT, S_DUE = range(16, 23)
A_TIME, A_LOW, A_HIGH, A_LOTS, A_COUNT, A_LOADED, A_BANDS = range(30, 37)
SIDE_COLUMNS = 7
"""Sweeps and bands of sellers lie so many columns behind those of buyers."""
INTS = 44
O_VALUE, S_VALUE, A_MIN, A_SUM, A_SQUARES = 0, 1, 3, 5, 7
FLOATS = 9
"""Columns of ``floats``; those from S_VALUE on come in pairs, buyers and sellers."""
FINE = 16
BINS = 53 * FINE
"""A size is counted by its highest five bits: bins are at most 1/16 wide."""
WINDOW, RENEWED = 10_000, 500
"""Sizes are halved in weight when 20,000 have been counted; what is large is judged anew every 500 orders."""
BANDS_LEAST, BANDS_MAX = 100, 2_000
WAIT = 100_000
"""An order that nothing follows is over so many µs after it might have been joined."""
FOREVER = 2**62

LARGE, SWEEP, ABSORPTION = range(3)
"""Kinds of ``out`` rows."""
KIND, SLOT, SIDE, WHEN, GRID_DAY, FROM, TO, LOWEST, HIGHEST, LOTS, PRINTS, SHOWN, NOW = range(13)
OUT = 13

JOIN, QUANTILE, NOTIONAL, LEVELS, WITHIN, SWEEP_QUANTILE, SWEEP_NOTIONAL = range(7)
BAND_ROWS, BAND_TIME, BAND_SIZE, DEVIATIONS, BEYOND = range(7, 12)
RULES = 12
"""Columns of ``rules``: times in µs, sizes in base units."""

DONE, DUE, NEW_DAY, FULL = range(4)
"""Why ``watch`` stopped."""
SPARE = 8


@njit(cache=True, nogil=True)
def watch(
    start: int, end: int, batch: Columns, when: Ints, due: Ints, grid_day: Ints, grid_scale: Floats,
    ints: Ints, floats: Floats, sizes: Counts, rules: Floats, out: Ints, values: Floats,
) -> tuple[int, int, int]:  # fmt: skip
    """Look at events ``start`` to ``end``; returns where it stopped, why, and how many rows of ``out`` it wrote."""
    exchange, slots, stamps = batch.exchange, batch.slot, batch.timestamp
    prices, quantities, quote, is_sell, sequences = (
        batch.price, batch.quantity, batch.value, batch.is_sell, batch.sequence,
    )  # fmt: skip
    join, within, band_time = np.int64(rules[JOIN]), np.int64(rules[WITHIN]), np.int64(rules[BAND_TIME])
    levels, band_rows, beyond = np.int64(rules[LEVELS]), np.int64(rules[BAND_ROWS]), np.int64(rules[BEYOND])
    by_value = rules[QUANTILE] == 0.0 and rules[NOTIONAL] > 0.0
    n = 0
    for i in range(start, end):
        x, t, s = exchange[i], stamps[i], slots[i]
        if t > when[x]:
            when[x] = t
        now = when[x]
        if now >= due[x]:
            return i, DUE, n
        if s < 0 or t < ints[s, TIME]:
            continue
        day = ints[s, DAY_OF]
        if t - day * DAY < 0 or t - day * DAY >= DAY:  # a product costs less than a quotient
            day = t // DAY
            if grid_day[s, day & 1] != day:
                continue
            return i, NEW_DAY, n
        g = day & 1
        if n + SPARE > len(out):
            return i, FULL, n
        exact, amount = prices[i] * grid_scale[s, g, 0], quantities[i] * grid_scale[s, g, 1]
        if not (exact < LIMIT and amount < LIMIT):
            continue
        nearest = np.floor(exact + 0.5)
        if abs(exact - nearest) >= max(1e-6, exact * 4e-15):
            nearest = np.floor(exact)
        k, lots = np.int64(nearest), np.int64(np.floor(amount + 0.5))
        row = np.int64(np.floor(nearest / grid_scale[s, g, 2]))
        side = 1 if is_sell[i] else 0
        ints[s, TIME] = t
        # --- taker orders
        if ints[s, O_COUNT] > 0 and ints[s, O_SIDE] == side and t - ints[s, O_TIME] <= join:
            ints[s, O_LAST] = k
            ints[s, O_LOW], ints[s, O_HIGH] = min(ints[s, O_LOW], k), max(ints[s, O_HIGH], k)
            ints[s, O_LOTS] += lots
            ints[s, O_COUNT] += 1
            floats[s, O_VALUE] += quote[i]
        else:
            if ints[s, O_COUNT] > 0:
                size = ints[s, O_LOTS]
                top, bits = size, 0
                while top >= 2 * FINE:
                    top >>= 1
                    bits += 1
                sizes[s, bits * FINE + top] += 1
                ints[s, ORDERS] += 1
                if ints[s, ORDERS] % RENEWED == 0:
                    if ints[s, ORDERS] >= 2 * WINDOW:
                        ints[s, ORDERS] = 0
                        for b in range(BINS):
                            sizes[s, b] >>= 1
                            ints[s, ORDERS] += sizes[s, b]
                    for which in range(2):
                        share = rules[QUANTILE] if which == 0 else rules[SWEEP_QUANTILE]
                        if share == 0.0:
                            continue
                        left = np.int64((1.0 - share) * ints[s, ORDERS])
                        b = BINS - 1
                        while b > 0 and left >= sizes[s, b]:
                            left -= sizes[s, b]
                            b -= 1
                        # The lower edge of the bin above: what lies over it is at most the share wanted.
                        b += 1
                        ints[s, LARGE_MIN + which] = b if b < 2 * FINE else (FINE + b % FINE) << (b // FINE - 1)
                if ints[s, O_LARGE] > 0:
                    out[n, KIND], out[n, SLOT], out[n, SIDE], out[n, WHEN] = LARGE, s, ints[s, O_SIDE], ints[s, O_TIME]
                    out[n, FROM], out[n, TO] = ints[s, O_FIRST], ints[s, O_LAST]
                    out[n, LOWEST], out[n, HIGHEST] = ints[s, O_LOW], ints[s, O_HIGH]
                    out[n, LOTS], out[n, PRINTS] = size, ints[s, O_COUNT]
                    out[n, GRID_DAY], out[n, SHOWN], out[n, NOW] = day, sequences[i], now
                    values[n] = floats[s, O_VALUE]
                    n += 1
            ints[s, O_TIME], ints[s, O_SIDE], ints[s, O_LOTS], ints[s, O_COUNT], ints[s, O_LARGE] = t, side, lots, 1, 0
            ints[s, O_FIRST] = ints[s, O_LAST] = ints[s, O_LOW] = ints[s, O_HIGH] = k
            floats[s, O_VALUE] = quote[i]
        if (
            ints[s, O_LARGE] == 0
            and ints[s, O_LOTS] >= ints[s, LARGE_MIN]
            and floats[s, O_VALUE] >= rules[NOTIONAL]
            and (ints[s, LARGE_MIN] > 0 or by_value)
        ):
            ints[s, O_LARGE] = 1
            due[x] = min(due[x], ints[s, O_TIME] + join + WAIT)
        # --- sweeps
        c = SIDE_COLUMNS * side
        worse = k < ints[s, S_LAST + c] if side == 0 else k > ints[s, S_LAST + c]
        if ints[s, S_COUNT + c] == 0 or worse or t - ints[s, S_TIME + c] > within:
            if ints[s, S_DUE + c] > 0:
                out[n, KIND], out[n, SLOT], out[n, SIDE], out[n, WHEN] = SWEEP, s, side, ints[s, S_TIME + c]
                out[n, FROM], out[n, TO] = ints[s, S_FIRST + c], ints[s, S_LAST + c]
                out[n, LOWEST], out[n, HIGHEST] = min(out[n, FROM], out[n, TO]), max(out[n, FROM], out[n, TO])
                out[n, LOTS], out[n, PRINTS] = ints[s, S_LOTS + c], ints[s, S_LEVELS + c]
                out[n, GRID_DAY], out[n, SHOWN], out[n, NOW] = day, sequences[i], now
                values[n] = floats[s, S_VALUE + side]
                n += 1
            ints[s, S_TIME + c], ints[s, S_LEVELS + c], ints[s, S_LOTS + c], ints[s, S_COUNT + c] = t, 1, lots, 1
            ints[s, S_FIRST + c] = ints[s, S_LAST + c] = k
            ints[s, S_DUE + c] = 0
            floats[s, S_VALUE + side] = quote[i]
        else:
            if k != ints[s, S_LAST + c]:
                ints[s, S_LEVELS + c] += 1
                ints[s, S_LAST + c] = k
            ints[s, S_LOTS + c] += lots
            ints[s, S_COUNT + c] += 1
            floats[s, S_VALUE + side] += quote[i]
            if (
                ints[s, S_DUE + c] == 0
                and ints[s, S_LEVELS + c] >= levels
                and ints[s, S_LOTS + c] >= ints[s, SWEEP_MIN]
                and floats[s, S_VALUE + side] >= rules[SWEEP_NOTIONAL]
                and (ints[s, SWEEP_MIN] > 0 or rules[SWEEP_QUANTILE] == 0.0)
            ):
                ints[s, S_DUE + c] = 1
                due[x] = min(due[x], ints[s, S_TIME + c] + within + 1)
        # --- absorption: price beyond a loaded band breaks it
        if ints[s, A_LOADED] > 0 and row > ints[s, A_HIGH] + beyond:
            ints[s, A_LOADED] = ints[s, A_COUNT] = 0
        if ints[s, A_LOADED + SIDE_COLUMNS] > 0 and row < ints[s, A_LOW + SIDE_COLUMNS] - beyond:
            ints[s, A_LOADED + SIDE_COLUMNS] = ints[s, A_COUNT + SIDE_COLUMNS] = 0
        low, high = min(ints[s, A_LOW + c], row), max(ints[s, A_HIGH + c], row)
        if ints[s, A_LOADED + c] > 0:
            if low == ints[s, A_LOW + c] and high == ints[s, A_HIGH + c]:
                ints[s, A_LOTS + c] += lots
                ints[s, A_COUNT + c] += 1
            continue
        if ints[s, A_COUNT + c] == 0 or high - low >= band_rows or t - ints[s, A_TIME + c] > band_time:
            if ints[s, A_COUNT + c] > 0:
                whole = float(ints[s, A_LOTS + c])
                floats[s, A_SUM + side] += whole
                floats[s, A_SQUARES + side] += whole * whole
                ints[s, A_BANDS + c] += 1
                bands = ints[s, A_BANDS + c]
                if bands >= BANDS_LEAST:
                    mean = floats[s, A_SUM + side] / bands
                    spread = max(floats[s, A_SQUARES + side] / bands - mean * mean, 0.0)
                    floats[s, A_MIN + side] = mean + rules[DEVIATIONS] * np.sqrt(spread)
                if bands >= BANDS_MAX:
                    ints[s, A_BANDS + c] >>= 1
                    floats[s, A_SUM + side] *= 0.5
                    floats[s, A_SQUARES + side] *= 0.5
            ints[s, A_TIME + c], ints[s, A_LOTS + c], ints[s, A_COUNT + c] = t, lots, 1
            ints[s, A_LOW + c] = ints[s, A_HIGH + c] = row
        else:
            ints[s, A_LOW + c], ints[s, A_HIGH + c] = low, high
            ints[s, A_LOTS + c] += lots
            ints[s, A_COUNT + c] += 1
        if (
            ints[s, A_LOTS + c] >= floats[s, A_MIN + side]
            and ints[s, A_LOTS + c] >= rules[BAND_SIZE] * grid_scale[s, g, 1]
            and (floats[s, A_MIN + side] > 0.0 if rules[DEVIATIONS] > 0.0 else rules[BAND_SIZE] > 0.0)
        ):
            ints[s, A_LOADED + c] = t
            due[x] = min(due[x], t + band_time)
    return end, DONE, n


@njit(cache=True, nogil=True)
def settle(
    x: int, now: int, sequence: int, exchange_of: Ints, due: Ints, ints: Ints, floats: Floats, rules: Floats,
    grid: Ints, out: Ints, values: Floats,
) -> int:  # fmt: skip
    """End what is over on exchange ``x`` at ``now``; returns how many rows of ``out`` it wrote: at most five a slot."""
    join, within, band_time = np.int64(rules[JOIN]), np.int64(rules[WITHIN]), np.int64(rules[BAND_TIME])
    n, following = 0, FOREVER
    for s in range(len(exchange_of)):
        if exchange_of[s] != x:
            continue
        over = ints[s, O_TIME] + join + WAIT
        if ints[s, O_LARGE] > 0 and now >= over:
            n = close_order(s, now, sequence, ints, floats, out, values, n)
        elif ints[s, O_LARGE] > 0:
            following = min(following, over)
        for side in range(2):
            c = SIDE_COLUMNS * side
            over = ints[s, S_TIME + c] + within + 1
            if ints[s, S_DUE + c] > 0 and now >= over:
                n = close_sweep(s, side, now, sequence, ints, floats, out, values, n)
            elif ints[s, S_DUE + c] > 0:
                following = min(following, over)
            over = ints[s, A_LOADED + c] + band_time
            if ints[s, A_LOADED + c] > 0 and now >= over:
                wide = grid[s, ints[s, DAY_OF] & 1, ROW - TICK]
                out[n, KIND], out[n, SLOT], out[n, SIDE], out[n, WHEN] = ABSORPTION, s, side, ints[s, A_TIME + c]
                out[n, LOWEST], out[n, HIGHEST] = ints[s, A_LOW + c] * wide, ints[s, A_HIGH + c] * wide
                out[n, FROM] = out[n, TO] = out[n, HIGHEST] if side == 0 else out[n, LOWEST]
                out[n, LOTS], out[n, PRINTS] = ints[s, A_LOTS + c], ints[s, A_COUNT + c]
                out[n, GRID_DAY], out[n, SHOWN], out[n, NOW] = ints[s, DAY_OF], sequence, now
                values[n] = floats[s, A_MIN + side]
                ints[s, A_LOADED + c] = ints[s, A_COUNT + c] = 0
                n += 1
            elif ints[s, A_LOADED + c] > 0:
                following = min(following, over)
    due[x] = following
    return n


@njit(cache=True, nogil=True)
def close_order(s: int, now: int, sequence: int, ints: Ints, floats: Floats, out: Ints, values: Floats, n: int) -> int:
    """Tell of a slot's large order; its size is counted when the next begins."""
    out[n, KIND], out[n, SLOT], out[n, SIDE], out[n, WHEN] = LARGE, s, ints[s, O_SIDE], ints[s, O_TIME]
    out[n, FROM], out[n, TO] = ints[s, O_FIRST], ints[s, O_LAST]
    out[n, LOWEST], out[n, HIGHEST] = ints[s, O_LOW], ints[s, O_HIGH]
    out[n, LOTS], out[n, PRINTS] = ints[s, O_LOTS], ints[s, O_COUNT]
    out[n, GRID_DAY], out[n, SHOWN], out[n, NOW] = ints[s, DAY_OF], sequence, now
    values[n] = floats[s, O_VALUE]
    ints[s, O_LARGE] = -1
    return n + 1


@njit(cache=True, nogil=True)
def close_sweep(
    s: int, side: int, now: int, sequence: int, ints: Ints, floats: Floats, out: Ints, values: Floats, n: int
) -> int:
    """Tell of a slot's sweep."""
    c = SIDE_COLUMNS * side
    out[n, KIND], out[n, SLOT], out[n, SIDE], out[n, WHEN] = SWEEP, s, side, ints[s, S_TIME + c]
    out[n, FROM], out[n, TO] = ints[s, S_FIRST + c], ints[s, S_LAST + c]
    out[n, LOWEST], out[n, HIGHEST] = min(out[n, FROM], out[n, TO]), max(out[n, FROM], out[n, TO])
    out[n, LOTS], out[n, PRINTS] = ints[s, S_LOTS + c], ints[s, S_LEVELS + c]
    out[n, GRID_DAY], out[n, SHOWN], out[n, NOW] = ints[s, DAY_OF], sequence, now
    values[n] = floats[s, S_VALUE + side]
    ints[s, S_DUE + c] = ints[s, S_COUNT + c] = 0
    return n + 1


@njit(cache=True, nogil=True)
def begin_day(
    s: int, day: int, now: int, sequence: int, grid: Ints, ints: Ints, floats: Floats, sizes: Counts, out: Ints,
    values: Floats,
) -> int:  # fmt: skip
    """A slot's first trade of ``day``: its ticks may differ, so what was under way ends; sizes of another step too."""
    n = 0
    if ints[s, O_LARGE] > 0:
        n = close_order(s, now, sequence, ints, floats, out, values, n)
    for side in range(2):
        if ints[s, S_DUE + SIDE_COLUMNS * side] > 0:
            n = close_sweep(s, side, now, sequence, ints, floats, out, values, n)
        ints[s, S_COUNT + SIDE_COLUMNS * side] = 0
        ints[s, A_COUNT + SIDE_COLUMNS * side] = ints[s, A_LOADED + SIDE_COLUMNS * side] = 0
    ints[s, O_COUNT] = 0
    step, places = grid[s, day & 1, STEP - TICK], grid[s, day & 1, STEP_DECIMALS - TICK]
    if ints[s, STEP_OF] != step or ints[s, STEP_PLACES] != places:
        ints[s, STEP_OF], ints[s, STEP_PLACES] = step, places
        ints[s, ORDERS] = ints[s, LARGE_MIN] = ints[s, SWEEP_MIN] = 0
        sizes[s] = 0
        for side in range(2):
            ints[s, A_BANDS + SIDE_COLUMNS * side] = 0
            floats[s, A_MIN + side] = floats[s, A_SUM + side] = floats[s, A_SQUARES + side] = 0.0
    ints[s, DAY_OF] = day
    return n
