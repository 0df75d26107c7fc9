# mypy: disallow-untyped-decorators=False
"""Candles into candles: base into intervals, late trades into closed ones. Compiled, exact.

A merge never depends on how rows were doubled before: the result's row is the smallest doubling of the grid's row
that needs at most ROWS_MAX rows, and floor(floor(k/m)/2) = floor(k/2m).
"""

from __future__ import annotations

from numba import njit

from signals._layout import (
    AS_OF,
    BUY,
    BUYS,
    CLOSE,
    CLOSE_ID,
    CLOSE_TIME,
    COLUMNS,
    CVD,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    EMPTY,
    FIRST,
    FIRST_HIGH,
    HIGH,
    INCOMPLETE,
    LAST,
    LOW,
    OPEN,
    OPEN_ID,
    OPEN_TIME,
    REFERENCE,
    REVISION,
    ROW,
    ROWS_MAX,
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
    Ints,
)  # fmt: skip
from signals._products import DISTANCE_MAX, SQUARE_MAX, add_moments, products


@njit(cache=True, nogil=True)
def clear(target: Candles, t: int) -> None:
    """Empty candle ``t``."""
    meta, values, buy, sell, buys, sells = target
    if meta[t, START] == EMPTY:
        return
    mask = buy.shape[1] - 1
    for bucket in range(meta[t, FIRST], meta[t, LAST] + 1):
        place = bucket & mask
        buy[t, place] = sell[t, place] = 0
        buys[t, place] = sells[t, place] = 0
    for column in range(COLUMNS):
        meta[t, column] = 0
    meta[t, START] = EMPTY
    values[t, 0] = values[t, 1] = 0.0


@njit(cache=True, nogil=True)
def fit(target: Candles, t: int, first: int, last: int, shift: int) -> int:
    """Make candle ``t`` hold buckets ``first..last`` (at ``shift``) beside its own; returns its new shift."""
    meta, _, buy, sell, buys, sells = target
    mask = buy.shape[1] - 1
    old = meta[t, SHIFT]
    low, high = meta[t, FIRST], meta[t, LAST]
    new = max(old, shift)
    while True:  # ends: every round halves the range
        begin = min(low >> (new - old), first >> (new - shift))
        end = max(high >> (new - old), last >> (new - shift))
        if end - begin < ROWS_MAX:
            break
        new += 1
    if new > old:
        for lots in (buy, sell):
            kept = lots[t].copy()
            lots[t] = 0
            for bucket in range(low, high + 1):
                lots[t, (bucket >> (new - old)) & mask] += kept[bucket & mask]
        for counts in (buys, sells):
            counted = counts[t].copy()
            counts[t] = 0
            for bucket in range(low, high + 1):
                counts[t, (bucket >> (new - old)) & mask] += counted[bucket & mask]
    meta[t, FIRST], meta[t, LAST], meta[t, SHIFT] = begin, end, new
    return int(new)


@njit(cache=True, nogil=True)
def absorb(target: Candles, t: int, source: Candles, s: int, start: int) -> None:
    """Add candle ``s`` of ``source``, which lies later in time, to candle ``t`` (begun at ``start`` if empty)."""
    meta, values, buy, sell, buys, sells = target
    child = source.meta
    if child[s, START] == EMPTY:
        return
    if meta[t, START] == EMPTY:
        for column in range(COLUMNS):
            meta[t, column] = child[s, column]
        for column in (BUY, SELL, BUYS, SELLS, DELTA, DELTA_MIN, DELTA_MAX, SHIFT, REVISION, CVD):
            meta[t, column] = 0
        meta[t, START] = start
        for column in range(FIRST_HIGH, SECOND_LOW + 1):
            meta[t, column] = 0
        meta[t, FIRST] = child[s, FIRST] << child[s, SHIFT]
        meta[t, LAST] = meta[t, FIRST]
    shift = fit(target, t, child[s, FIRST], child[s, LAST], child[s, SHIFT]) - child[s, SHIFT]
    own, mask = buy.shape[1] - 1, source.buy.shape[1] - 1
    for bucket in range(child[s, FIRST], child[s, LAST] + 1):
        to, of = (bucket >> shift) & own, bucket & mask
        buy[t, to] += source.buy[s, of]
        sell[t, to] += source.sell[s, of]
        buys[t, to] += source.buys[s, of]
        sells[t, to] += source.sells[s, of]
    _edge(meta, t, child[s, OPEN], child[s, OPEN_TIME], child[s, OPEN_ID])
    _edge(meta, t, child[s, CLOSE], child[s, CLOSE_TIME], child[s, CLOSE_ID])
    meta[t, HIGH] = max(meta[t, HIGH], child[s, HIGH])
    meta[t, LOW] = min(meta[t, LOW], child[s, LOW])
    meta[t, DELTA_MIN] = min(meta[t, DELTA_MIN], meta[t, DELTA] + child[s, DELTA_MIN])
    meta[t, DELTA_MAX] = max(meta[t, DELTA_MAX], meta[t, DELTA] + child[s, DELTA_MAX])
    for column in (BUY, SELL, BUYS, SELLS, DELTA):
        meta[t, column] += child[s, column]
    for column in (SEQUENCE, AS_OF, INCOMPLETE):
        meta[t, column] = max(meta[t, column], child[s, column])
    add_moments(meta, t, child, s)
    values[t, 0] += source.values[s, 0]
    values[t, 1] += source.values[s, 1]


@njit(cache=True)
def _edge(meta: Ints, t: int, tick: int, time: int, order: int) -> None:
    """Open and close by (time, numeric id); trades without one keep their order of arrival."""
    if time < meta[t, OPEN_TIME] or (
        time == meta[t, OPEN_TIME] and order >= 0 and meta[t, OPEN_ID] >= 0 and order < meta[t, OPEN_ID]
    ):
        meta[t, OPEN], meta[t, OPEN_TIME], meta[t, OPEN_ID] = tick, time, order
    if time > meta[t, CLOSE_TIME] or (
        time == meta[t, CLOSE_TIME] and not (order >= 0 and meta[t, CLOSE_ID] >= 0 and order < meta[t, CLOSE_ID])
    ):
        meta[t, CLOSE], meta[t, CLOSE_TIME], meta[t, CLOSE_ID] = tick, time, order


@njit(cache=True)
def stretch(target: Candles, t: int, edges: Ints) -> None:
    """Let candle ``t`` reach the open, high, low and close of another's meta."""
    _edge(target.meta, t, edges[OPEN], edges[OPEN_TIME], edges[OPEN_ID])
    _edge(target.meta, t, edges[CLOSE], edges[CLOSE_TIME], edges[CLOSE_ID])
    target.meta[t, HIGH] = max(target.meta[t, HIGH], edges[HIGH])
    target.meta[t, LOW] = min(target.meta[t, LOW], edges[LOW])


@njit(cache=True)
def add_trades(
    target: Candles, t: int, batch: Columns, ticks: Ints, lots: Ints, start: int, as_of: int, grid: Ints
) -> None:
    """Append trades, in the order given, to candle ``t``; ``grid`` (TICK to ROW) serves an empty one."""
    meta, values, buy, sell, buys, sells = target
    mask = buy.shape[1] - 1
    for i in range(len(ticks)):
        if meta[t, START] == EMPTY:
            for column in range(COLUMNS):
                meta[t, column] = 0
            for column in range(REFERENCE - TICK + 1):
                meta[t, TICK + column] = grid[column]
            meta[t, START] = start
            meta[t, FIRST] = meta[t, LAST] = ticks[i] // grid[ROW - TICK]
            meta[t, OPEN] = meta[t, CLOSE] = meta[t, HIGH] = meta[t, LOW] = ticks[i]
            meta[t, OPEN_TIME] = meta[t, CLOSE_TIME] = batch.timestamp[i]
            meta[t, OPEN_ID] = meta[t, CLOSE_ID] = batch.order[i]
        bucket = ticks[i] // meta[t, ROW]
        place = (bucket >> fit(target, t, bucket, bucket, 0)) & mask
        if batch.is_sell[i]:
            sell[t, place] += lots[i]
            sells[t, place] += 1
            meta[t, SELL] += lots[i]
            meta[t, SELLS] += 1
            values[t, 1] += batch.value[i]
            meta[t, DELTA] -= lots[i]
        else:
            buy[t, place] += lots[i]
            buys[t, place] += 1
            meta[t, BUY] += lots[i]
            meta[t, BUYS] += 1
            values[t, 0] += batch.value[i]
            meta[t, DELTA] += lots[i]
        _edge(meta, t, ticks[i], batch.timestamp[i], batch.order[i])
        meta[t, HIGH] = max(meta[t, HIGH], ticks[i])
        meta[t, LOW] = min(meta[t, LOW], ticks[i])
        meta[t, DELTA_MIN] = min(meta[t, DELTA_MIN], meta[t, DELTA])
        meta[t, DELTA_MAX] = max(meta[t, DELTA_MAX], meta[t, DELTA])
        d = ticks[i] - meta[t, REFERENCE]
        if float(d) * float(d) * float(lots[i]) < SQUARE_MAX and abs(d) < DISTANCE_MAX:
            more = products(d, lots[i])
            for n, high in enumerate((FIRST_HIGH, SECOND_HIGH)):
                low = meta[t, high + 1] + more[2 * n + 1]
                meta[t, high] += more[2 * n] + (low >> 32)
                meta[t, high + 1] = low & 0xFFFFFFFF
        meta[t, SEQUENCE] = max(meta[t, SEQUENCE], batch.sequence[i])
        meta[t, AS_OF] = max(meta[t, AS_OF], as_of)
