"""How a candle lies in memory: one row of integers, two floats, and its price rows in a ring.

A candle is ``meta`` (int64[COLUMNS]), ``values`` (float64[2]: buy and sell value) and four rings of equal,
power-of-two length (buy lots, sell lots, buy trades, sell trades). Ring place = bucket & (length - 1), where
bucket = tick // (ROW << SHIFT). Places outside FIRST..LAST hold zero. Prices are ticks, sizes quantity steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

START, OPEN, OPEN_TIME, OPEN_ID, CLOSE, CLOSE_TIME, CLOSE_ID, HIGH, LOW = range(9)
BUY, SELL, BUYS, SELLS, DELTA, DELTA_MIN, DELTA_MAX = range(9, 16)
FIRST, LAST, SHIFT, SEQUENCE, AS_OF, REVISION, CVD, INCOMPLETE = range(16, 24)
TICK, TICK_DECIMALS, STEP, STEP_DECIMALS, ROW, REFERENCE = range(24, 30)
FIRST_HIGH, FIRST_LOW, SECOND_HIGH, SECOND_LOW = range(30, 34)
COLUMNS = 40
"""Five cache lines. ``tick = TICK / 10**TICK_DECIMALS``, likewise the step; ROW is the row size in ticks.

REFERENCE is the tick of the day's first trade; FIRST and SECOND moments are relative to it (``_moments``). All candles
of a symbol's day share TICK to REFERENCE.
"""
GRID_COLUMNS = slice(TICK, REFERENCE + 1)
EMPTY = -1
"""START of a place that holds no candle."""

LIVE_ROWS = 1024
PART_ROWS = 512
ROWS_MAX = 400
"""A candle doubles its row until it has at most so many."""

CLOCK, CLOSES, CURRENT, PARITY, DAY_NOW, DAY_BEFORE = range(6)
"""Columns of an exchange's time: event time, when the next candle may close, its base slot, parity and days."""

DAY = 86_400_000_000
GRACE = 1_000_000
"""A candle closes when event time passes its end by so many microseconds."""


class Candles(NamedTuple):
    """Many candles side by side; row ``i`` of each array belongs to candle ``i``."""

    meta: Ints
    values: Floats
    buy: Ints
    sell: Ints
    buys: Counts
    sells: Counts


class Rings(NamedTuple):
    """The rings of many candles, by side: those of buyers, then those of sellers."""

    lots: Ints
    trades: Counts


def rings(count: int, rows: int) -> Rings:
    """Empty."""
    return Rings(np.zeros((2, count, rows), np.int64), np.zeros((2, count, rows), np.int32))


def candles(count: int, rows: int, within: Rings | None = None) -> Candles:
    """``count`` empty candles with rings of ``rows`` places, those of ``within`` if given."""
    meta = np.zeros((count, COLUMNS), np.int64)
    meta[:, START] = EMPTY
    lots, trades = within or rings(count, rows)
    return Candles(meta, np.zeros((count, 2)), lots[0], lots[1], trades[0], trades[1])


def grown(old: Candles, count: int, within: Rings | None = None) -> Candles:
    """A copy of ``old`` with room for ``count`` candles."""
    new = candles(count, old.buy.shape[1], within)
    held = len(old.meta)
    new.meta[:held], new.values[:held] = old.meta, old.values
    new.buy[:held], new.sell[:held] = old.buy, old.sell
    new.buys[:held], new.sells[:held] = old.buys, old.sells
    return new


class Columns(NamedTuple):
    """A batch of events in stream order, one array each. ``slot`` is -1 for a clock event."""

    exchange: Ints
    slot: Ints
    timestamp: Ints
    order: Ints
    """Numeric trade id, or -1: by arrival."""
    identity: Ints
    """64 bits that tell trades of one slot and timestamp apart."""
    price: Floats
    quantity: Floats
    value: Floats
    is_sell: Bools
    sequence: Ints
