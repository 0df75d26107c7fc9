# mypy: disallow-untyped-decorators=False
"""Candles and profiles straight to JSON bytes, compiled: integers in, shortest decimals out, no object in between."""

from __future__ import annotations

import numpy as np
from numba import njit

from signals._layout import (
    AS_OF,
    BUY,
    BUYS,
    CLOSE,
    CVD,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    FIRST,
    HIGH,
    INCOMPLETE,
    LOW,
    OPEN,
    REVISION,
    ROW,
    SELL,
    SELLS,
    SEQUENCE,
    SHIFT,
    START,
    STEP,
    STEP_DECIMALS,
    TICK,
    TICK_DECIMALS,
    Bytes,
    Floats,
    Ints,
)  # fmt: skip
from signals._options import (
    AREA,
    FILTER_BUY,
    FILTER_SELL,
    HORIZONTAL,
    INCLUSIVE,
    MINIMUM,
    NODES,
    PAIRS,
    PERCENTILE,
    PROMINENCE,
    RATIO,
    SMOOTH,
    STACK,
    TRADED,
    ZERO,
)  # fmt: skip
from signals._write import decimal, integer, text
from signals.imbalance import BUYERS, SELLERS, imbalances, least, stacks
from signals.nodes import HIGH as HIGH_NODE
from signals.nodes import LOW as LOW_NODE
from signals.nodes import nodes
from signals.value_area import value_area

LOTS_MAX = 4e18
ROOM = 192 * 1024
"""Bytes one candle can never exceed: 400 rows of three long numbers and two imbalances each."""


def _t(words: str) -> Bytes:
    return np.frombuffer(words.encode(), np.uint8).copy()


_TIMESTAMP, _REVISION, _CLOSED = _t('"timestamp":'), _t(',"revision":'), _t(',"closed":')
_COMPLETE, _TICK, _ROW = _t(',"complete":'), _t(',"tick":'), _t(',"row":')
_OPEN, _HIGH, _LOW, _CLOSE = _t(',"open":'), _t(',"high":'), _t(',"low":'), _t(',"close":')
_BUY, _SELL, _DELTA = _t(',"buy":'), _t(',"sell":'), _t(',"delta":')
_MIN, _MAX, _CVD, _TRADES = _t(',"min_delta":'), _t(',"max_delta":'), _t(',"cvd":'), _t(',"trades":')
_POC, _VAH, _VAL = _t(',"poc":'), _t(',"vah":'), _t(',"val":')
_PRICES, _BUYS, _SELLS = _t(',"prices":['), _t('],"buys":['), _t('],"sells":[')
_IMBALANCES, _STACKS, _UNFINISHED = _t('],"imbalances":['), _t('],"stacks":['), _t('],"unfinished":{"high":')
_END, _SEQUENCE, _AS_OF = _t(',"low":'), _t('},"sequence":'), _t(',"as_of":')
_PRICE, _BUYER, _SELLER = _t('{"price":'), _t(',"side":"buy","ratio":'), _t(',"side":"sell","ratio":')
_BUY_STACK, _SELL_STACK, _COUNT = _t('{"side":"buy","low":'), _t('{"side":"sell","low":'), _t(',"count":')
_TRUE, _FALSE, _NULL, _FROM, _TO = _t("true"), _t("false"), _t("null"), _t('"from":'), _t(',"to":')
_DELTAS, _HVN, _LVN = _t('],"deltas":['), _t(',"hvn":['), _t(',"lvn":[')
_PLAIN_SEQUENCE = _t(',"sequence":')
_PROFILE_PRICES = _t(',"prices":[')
_COMMA, _BRACE = 44, 125


@njit(cache=True, nogil=True)
def candle(
    out: Bytes, at: int, meta: Ints, buy: Ints, sell: Ints, count: int, closed: bool, marks: Bytes, options: Floats
) -> int:
    """Write a candle from ``"timestamp"`` to its closing brace; returns the end. ``marks`` is scratch, uint8[count]."""
    tick, places, step, digits = meta[TICK], meta[TICK_DECIMALS], meta[STEP], meta[STEP_DECIMALS]
    wide = meta[ROW] << meta[SHIFT]
    at = integer(out, text(out, at, _TIMESTAMP), meta[START])
    at = integer(out, text(out, at, _REVISION), meta[REVISION])
    at = text(out, text(out, at, _CLOSED), _TRUE if closed else _FALSE)
    at = text(out, text(out, at, _COMPLETE), _FALSE if meta[INCOMPLETE] else _TRUE)
    at = decimal(out, text(out, at, _TICK), tick, places)
    at = decimal(out, text(out, at, _ROW), wide * tick, places)
    at = decimal(out, text(out, at, _OPEN), meta[OPEN] * tick, places)
    at = decimal(out, text(out, at, _HIGH), meta[HIGH] * tick, places)
    at = decimal(out, text(out, at, _LOW), meta[LOW] * tick, places)
    at = decimal(out, text(out, at, _CLOSE), meta[CLOSE] * tick, places)
    at = decimal(out, text(out, at, _BUY), meta[BUY] * step, digits)
    at = decimal(out, text(out, at, _SELL), meta[SELL] * step, digits)
    at = decimal(out, text(out, at, _DELTA), meta[DELTA] * step, digits)
    at = decimal(out, text(out, at, _MIN), meta[DELTA_MIN] * step, digits)
    at = decimal(out, text(out, at, _MAX), meta[DELTA_MAX] * step, digits)
    at = decimal(out, text(out, at, _CVD), meta[CVD] * step, digits)
    at = integer(out, text(out, at, _TRADES), meta[BUYS] + meta[SELLS])
    at = _levels(out, at, buy, sell, count, meta[FIRST], wide * tick, places, options)
    at = text(out, at, _PRICES)
    at = _rows(out, at, buy, sell, count, meta[FIRST], wide * tick, places, step, digits)
    found = marked(meta, buy, sell, count, marks, options)
    at = text(out, at, _IMBALANCES)
    if found:
        at = _imbalances(out, at, buy, sell, marks, count, meta[FIRST], wide * tick, places, options)
    at = text(out, at, _STACKS)
    if found >= options[STACK]:
        at = _stacks(out, at, buy, sell, marks, count, meta[FIRST], wide * tick, places, options)
    at = text(out, at, _UNFINISHED)
    high, low = unfinished(meta, buy, sell, count, options)
    at = text(out, at, _TRUE if high else _FALSE)
    at = text(out, text(out, at, _END), _TRUE if low else _FALSE)
    at = integer(out, text(out, at, _SEQUENCE), meta[SEQUENCE])
    at = integer(out, text(out, at, _AS_OF), meta[AS_OF])
    out[at] = _BRACE
    return at + 1


@njit(cache=True, nogil=True)
def profile(
    out: Bytes, at: int, meta: Ints, buy: Ints, sell: Ints, count: int, begin: int, end: int, options: Floats
) -> int:
    """Write a volume profile from ``"from"`` to its closing brace; returns the end. ``meta`` as a candle's."""
    tick, places, step, digits = meta[TICK], meta[TICK_DECIMALS], meta[STEP], meta[STEP_DECIMALS]
    wide = meta[ROW] << meta[SHIFT]
    bought = sold = 0
    for i in range(count):
        bought += buy[i]
        sold += sell[i]
    at = integer(out, text(out, at, _FROM), begin)
    at = integer(out, text(out, at, _TO), end)
    at = decimal(out, text(out, at, _TICK), tick, places)
    at = decimal(out, text(out, at, _ROW), wide * tick, places)
    at = text(out, at, _PROFILE_PRICES)
    at = _rows(out, at, buy, sell, count, meta[FIRST], wide * tick, places, step, digits)
    at = text(out, at, _DELTAS)
    for i in range(count):
        if i:
            out[at] = _COMMA
            at += 1
        at = decimal(out, at, (buy[i] - sell[i]) * step, digits)
    out[at] = 93
    at = decimal(out, text(out, at + 1, _BUY), bought * step, digits)
    at = decimal(out, text(out, at, _SELL), sold * step, digits)
    at = decimal(out, text(out, at, _DELTA), (bought - sold) * step, digits)
    at = _levels(out, at, buy, sell, count, meta[FIRST], wide * tick, places, options)
    marks = np.zeros(count, np.uint8)
    nodes(buy, sell, count, marks, int(options[NODES]), options[SMOOTH] > 0, int(options[PROMINENCE]))
    at = _nodes(out, text(out, at, _HVN), marks, HIGH_NODE, count, meta[FIRST], wide * tick, places)
    at = _nodes(out, text(out, at, _LVN), marks, LOW_NODE, count, meta[FIRST], wide * tick, places)
    at = integer(out, text(out, at, _PLAIN_SEQUENCE), meta[SEQUENCE])
    at = integer(out, text(out, at, _AS_OF), meta[AS_OF])
    out[at] = _BRACE
    return at + 1


@njit(cache=True, nogil=True)
def lots_of(meta: Ints, size: float) -> int:
    """A size in base units as whole lots of a candle's step, rounded down."""
    return int(np.floor(min(size * 10.0 ** meta[STEP_DECIMALS] / meta[STEP] + 1e-9, LOTS_MAX)))


@njit(cache=True, nogil=True)
def marked(meta: Ints, buy: Ints, sell: Ints, count: int, marks: Bytes, options: Floats) -> int:
    """Mark the imbalances of a candle's rows as ``options`` define them; returns how many there are."""
    lots = lots_of(meta, options[MINIMUM])
    minimum = least(buy, sell, count, lots, int(options[PERCENTILE]))
    return int(
        imbalances(
            buy, sell, count, marks, int(options[RATIO]), options[INCLUSIVE] > 0, options[ZERO] > 0, minimum,
            options[TRADED] > 0, options[HORIZONTAL] > 0,
        )
    )  # fmt: skip


@njit(cache=True, nogil=True)
def unfinished(meta: Ints, buy: Ints, sell: Ints, count: int, options: Floats) -> tuple[bool, bool]:
    """Whether the auction at the high and at the low is unfinished."""
    buyers, sellers = lots_of(meta, options[FILTER_BUY]), lots_of(meta, options[FILTER_SELL])
    high = buy[count - 1] > buyers and sell[count - 1] > 0
    return high, sell[0] > sellers and buy[0] > 0


@njit(cache=True, nogil=True)
def _nodes(out: Bytes, at: int, marks: Bytes, kind: int, count: int, first: int, unit: int, places: int) -> int:
    begin = at
    for i in range(count):
        if marks[i] == kind:
            if at > begin:
                out[at] = _COMMA
                at += 1
            at = decimal(out, at, (first + i) * unit, places)
    out[at] = 93
    return at + 1


@njit(cache=True, nogil=True)
def _levels(
    out: Bytes, at: int, buy: Ints, sell: Ints, count: int, first: int, unit: int, places: int, options: Floats
) -> int:
    """Point of control and value area; all null without volume."""
    control, low, high = value_area(buy, sell, count, int(options[AREA]), 2 if options[PAIRS] > 0 else 1)
    if control < 0:
        at = text(out, text(out, at, _POC), _NULL)
        at = text(out, text(out, at, _VAH), _NULL)
        return text(out, text(out, at, _VAL), _NULL)
    at = decimal(out, text(out, at, _POC), (first + control) * unit, places)
    at = decimal(out, text(out, at, _VAH), (first + high) * unit, places)
    return decimal(out, text(out, at, _VAL), (first + low) * unit, places)


@njit(cache=True, nogil=True)
def _rows(
    out: Bytes, at: int, buy: Ints, sell: Ints, count: int, first: int, unit: int, places: int, step: int, digits: int
) -> int:
    for i in range(count):
        if i:
            out[at] = _COMMA
            at += 1
        at = decimal(out, at, (first + i) * unit, places)
    at = text(out, at, _BUYS)
    for i in range(count):
        if i:
            out[at] = _COMMA
            at += 1
        at = decimal(out, at, buy[i] * step, digits)
    at = text(out, at, _SELLS)
    for i in range(count):
        if i:
            out[at] = _COMMA
            at += 1
        at = decimal(out, at, sell[i] * step, digits)
    return at


@njit(cache=True, nogil=True)
def _imbalances(
    out: Bytes, at: int, buy: Ints, sell: Ints, marks: Bytes, count: int, first: int, unit: int, places: int,
    options: Floats,
) -> int:  # fmt: skip
    """Ratios have six decimals: they are for reading, the rows for computing. None where the partner is 0."""
    begin = at
    traded, horizontal = options[TRADED] > 0, options[HORIZONTAL] > 0
    for i in range(count):
        for side in (BUYERS, SELLERS):
            if marks[i] & side:
                if at > begin:
                    out[at] = _COMMA
                    at += 1
                at = decimal(out, text(out, at, _PRICE), (first + i) * unit, places)
                way = -1 if side == BUYERS else 1
                other = i if horizontal else i + way
                while traded and not horizontal and buy[other] == 0 and sell[other] == 0:  # ends: a partner traded
                    other += way
                own, partner = (buy[i], sell[other]) if side == BUYERS else (sell[i], buy[other])
                at = text(out, at, _BUYER if side == BUYERS else _SELLER)
                if partner == 0:
                    at = text(out, at, _NULL)
                else:
                    at = decimal(out, at, int(np.floor(min(own / partner, 9e12) * 1e6 + 0.5)), 6)
                out[at] = _BRACE
                at += 1
    return at


@njit(cache=True, nogil=True)
def _stacks(
    out: Bytes, at: int, buy: Ints, sell: Ints, marks: Bytes, count: int, first: int, unit: int, places: int,
    options: Floats,
) -> int:  # fmt: skip
    fewest = int(options[STACK])
    found = np.empty((2 * count // fewest + 2, 4), np.int64)
    for n in range(stacks(marks, buy, sell, count, fewest, options[TRADED] > 0, found)):
        if n:
            out[at] = _COMMA
            at += 1
        at = text(out, at, _BUY_STACK if found[n, 0] == BUYERS else _SELL_STACK)
        at = decimal(out, at, (first + found[n, 1]) * unit, places)
        at = decimal(out, text(out, at, _HIGH), (first + found[n, 2]) * unit, places)
        at = integer(out, text(out, at, _COUNT), found[n, 3])
        out[at] = _BRACE
        at += 1
    return at
