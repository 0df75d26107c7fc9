# mypy: disallow-untyped-decorators=False
"""What ``fold`` does to the trades of each candle once their ticks and steps are known. Compiled; one pass a batch.

Trades ``at[c]`` to ``end[c]`` of ``order``, ``ticks`` and ``lots`` are those of candle ``c`` (``_groups``).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._groups import Groups
from signals._layout import (
    BUY,
    BUYS,
    CLOSE,
    CLOSE_ID,
    CLOSE_TIME,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    FIRST,
    FIRST_HIGH,
    FIRST_LOW,
    HIGH,
    LAST,
    LIVE_ROWS,
    LOW,
    OPEN,
    OPEN_ID,
    OPEN_TIME,
    REFERENCE,
    SECOND_HIGH,
    SECOND_LOW,
    SELL,
    SELLS,
    SHIFT,
    Bools,
    Candles,
    Floats,
    Ints,
    Rings,
)  # fmt: skip
from signals._products import DISTANCE_MAX, PLAIN_MAX, SQUARE_MAX, products

TOO_LARGE, OFF_GRID, OFF_STEP, APPLIED, TOO_FAR = range(5)
"""What ``fold`` counts."""


@njit(cache=True, nogil=True)
def is_later(t: int, order: int, time: int, known: int) -> bool:
    """Whether a trade comes after the close: by time, then by numeric id, then by arrival."""
    return t > time or (t == time and not (order >= 0 and known >= 0 and order < known))


@njit(cache=True, nogil=True)
def is_earlier(t: int, order: int, time: int, known: int) -> bool:
    """Whether a trade comes before the open."""
    return t < time or (t == time and order >= 0 and known >= 0 and order < known)


@njit(cache=True, nogil=True)
def follows(t: int, order: int, time: int, known: int) -> bool:
    """Whether a trade is beyond doubt after another: it may become the close and cannot become the open."""
    return (t > time) | ((t == time) & (order >= known))


@njit(cache=True, nogil=True)
def find_edges(start: int, touched: int, stamps: Ints, ids: Ints, meta: Ints, groups: Groups) -> None:
    """Open, high, low and close. Trades mostly come in order: then only the last may be the close."""
    stamps, ids = stamps[start:], ids[start:]
    order, ticks = groups.order, groups.ticks
    for n in range(touched):
        c = groups.touched[n]
        at, end = groups.at[c], groups.end[c]
        if at == end:
            continue
        t, by, k = stamps[order[at]], ids[order[at]], ticks[at]
        if meta[c, OPEN_TIME] == 0:  # only just begun
            meta[c, OPEN] = meta[c, CLOSE] = meta[c, HIGH] = meta[c, LOW] = k
            meta[c, OPEN_TIME] = meta[c, CLOSE_TIME] = t
            meta[c, OPEN_ID] = meta[c, CLOSE_ID] = by
        high, low = max(meta[c, HIGH], k), min(meta[c, LOW], k)
        for j in range(at, end):
            high, low = max(high, ticks[j]), min(low, ticks[j])
        meta[c, HIGH], meta[c, LOW] = high, low
        in_order = follows(t, by, meta[c, OPEN_TIME], meta[c, OPEN_ID])
        in_order &= follows(t, by, meta[c, CLOSE_TIME], meta[c, CLOSE_ID])
        for j in range(at, end):
            i, before_t, before_by = order[j], t, by
            t, by = stamps[i], ids[i]
            in_order &= follows(t, by, before_t, before_by)
        if in_order:
            meta[c, CLOSE], meta[c, CLOSE_TIME], meta[c, CLOSE_ID] = ticks[end - np.uint32(1)], t, by
            continue
        for j in range(at, end):
            t, by, k = stamps[order[j]], ids[order[j]], ticks[j]
            if is_later(t, by, meta[c, CLOSE_TIME], meta[c, CLOSE_ID]):
                meta[c, CLOSE], meta[c, CLOSE_TIME], meta[c, CLOSE_ID] = k, t, by
            if is_earlier(t, by, meta[c, OPEN_TIME], meta[c, OPEN_ID]):
                meta[c, OPEN], meta[c, OPEN_TIME], meta[c, OPEN_ID] = k, t, by


@njit(cache=True, nogil=True, error_model="numpy")  # no check for a row of zero ticks
def find_rows(touched: int, live: Candles, scale: Floats, groups: Groups) -> None:
    """The place in ``rings`` of each trade's price row; rows double where they would not fit the ring."""
    meta, length = live.meta, live.buy.shape[1]
    for n in range(touched):
        c = groups.touched[n]
        at, end = groups.at[c], groups.end[c]
        if at == end:
            continue
        while True:  # ends: every round halves the range
            # Quotients of integers below 2^53 are rounded correctly, so the floor is the integer one.
            wide = scale[c, 2]
            first, last = np.int64(np.floor(meta[c, LOW] / wide)), np.int64(np.floor(meta[c, HIGH] / wide))
            if last - first < length:
                break
            widen(live, scale, c)
        meta[c, FIRST], meta[c, LAST] = first, last
        offset = np.int64(c) * length
        for j in range(at, end):
            bucket = np.int64(np.floor(groups.ticks[j] / wide))
            groups.place[j] = np.uint32(offset + (bucket & (length - 1)))


@njit(cache=True, nogil=True)
def add_sides(
    start: int, touched: int, is_sell: Bools, quote: Floats, meta: Ints, values: Floats, rings: Rings, groups: Groups
) -> None:
    """Sizes and counts by row and side, delta and its extremes. Without a branch: the side cannot be foreseen."""
    is_sell, quote = is_sell[start:], quote[start:]
    lots, trades, sellers = rings.lots.ravel(), rings.trades.ravel(), rings.lots[0].size
    for n in range(touched):
        c = groups.touched[n]
        total = sold = sales = 0
        delta, lowest, highest = meta[c, DELTA], meta[c, DELTA_MIN], meta[c, DELTA_MAX]
        buy_value, sell_value = values[c, 0], values[c, 1]
        for j in range(groups.at[c], groups.end[c]):
            i, size = groups.order[j], groups.lots[j]
            selling, value = is_sell[i], quote[i]
            place = np.uint32(groups.place[j] + sellers * selling)
            lots[place] += size
            trades[place] += 1
            out = size if selling else 0
            total += size
            sold += out
            sales += selling
            delta += size - 2 * out
            lowest, highest = min(lowest, delta), max(highest, delta)
            sell_value += value if selling else 0.0
            buy_value += 0.0 if selling else value
        meta[c, DELTA], meta[c, DELTA_MIN], meta[c, DELTA_MAX] = delta, lowest, highest
        values[c, 0], values[c, 1] = buy_value, sell_value
        meta[c, BUY] += total - sold
        meta[c, SELL] += sold
        meta[c, BUYS] += np.int64(groups.end[c]) - np.int64(groups.at[c]) - sales
        meta[c, SELLS] += sales


@njit(cache=True, nogil=True)
def add_moments(touched: int, meta: Ints, counts: Ints, groups: Groups) -> None:
    """Sums of price and price² by size, as pairs of 32 bits and the rest (``_moments``)."""
    ticks, lots = groups.ticks, groups.lots
    for n in range(touched):
        c = groups.touched[n]
        at, end, reference = groups.at[c], groups.end[c], meta[c, REFERENCE]
        large = first_high = first_low = second_high = second_low = 0
        for j in range(at, end):
            d, size = ticks[j] - reference, lots[j]
            far = float(d)
            large += far * far * float(size) >= PLAIN_MAX
            p = d * size
            q = p * d
            first_high += p >> 32
            first_low += p & 0xFFFFFFFF
            second_high += q >> 32
            second_low += q & 0xFFFFFFFF
        if large > 0:
            first_high = first_low = second_high = second_low = 0
            for j in range(at, end):
                d, size = ticks[j] - reference, lots[j]
                far = float(d)
                if far * far * float(size) < SQUARE_MAX and abs(d) < DISTANCE_MAX:
                    more = products(d, size)
                    first_high, first_low = first_high + more[0], first_low + more[1]
                    second_high, second_low = second_high + more[2], second_low + more[3]
                else:
                    counts[TOO_FAR] += 1
        first_low += meta[c, FIRST_LOW]
        second_low += meta[c, SECOND_LOW]
        meta[c, FIRST_HIGH] += first_high + (first_low >> 32)
        meta[c, SECOND_HIGH] += second_high + (second_low >> 32)
        meta[c, FIRST_LOW], meta[c, SECOND_LOW] = first_low & 0xFFFFFFFF, second_low & 0xFFFFFFFF


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
