"""Candles made from the tables by the kernels that make the live ones: same content, same bytes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import numpy as np

from schemas.instruments import STEP_DEFAULT
from schemas.time import DAY
from signals._grid import to_grid, to_lots
from signals._layout import (
    AS_OF,
    BUYS,
    CLOSE,
    COLUMNS,
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
    ROWS_MAX,
    SEQUENCE,
    SHIFT,
    START,
    STEP,
    TICK,
    Floats,
    Ints,
)  # fmt: skip
from signals._layout import BUY as BUY_COLUMN
from signals._layout import SELL as SELL_COLUMN
from signals._options import DEFAULTS
from signals._render import ROOM, candle
from signals._write import parts
from web._tables import Tables

_EXACT = 2**53


class Head(NamedTuple):
    """A candle without its rows, as ``web_candles.sql`` gives it."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    buy: float
    sell: float
    min_delta: float
    max_delta: float
    cvd: float
    trades: int
    revision: int
    complete: int
    sequence: int
    as_of: int
    minutes: int


class Unit(NamedTuple):
    """Tick and step, each as a number and its decimals."""

    tick: tuple[int, int]
    step: tuple[int, int]

    @property
    def per_price(self) -> float:
        """Ticks of one quote unit."""
        return float(10 ** self.tick[1] / self.tick[0])

    @property
    def per_size(self) -> float:
        """Steps of one base unit."""
        return float(10 ** self.step[1] / self.step[0])


class Rows(NamedTuple):
    """Volume by bucket from ``first`` on; a bucket is ``row << shift`` ticks."""

    row: int
    shift: int
    first: int
    buy: Ints
    sell: Ints


async def heads(tables: Tables, exchange: str, symbol: str, begin: int, end: int, length: int) -> list[Head]:
    """Candles with open times in [begin, end) µs, each ``length`` µs. ``begin`` is a candle's own open time."""
    rows = await tables.fetch("web_candles", exchange, symbol, begin - begin % DAY, begin, end, length)
    # A candle of several minutes has no revision of its own: those of its minutes were late for them, not for it.
    return [Head(*row)._replace(revision=row[11] if length == 60_000_000 else 0) for row in rows]


async def price_rows(
    tables: Tables, exchange: str, symbol: str, begin: int, end: int, length: int
) -> dict[int, list[tuple[Any, ...]]]:
    """By open time: (row, level, price, buy, sell), ascending by level."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in await tables.fetch("web_rows", exchange, symbol, begin, end, length):
        found[row[0]].append(row[1:])
    return found


def unit_of(rows: list[tuple[Any, ...]], step: float | None, most: float) -> Unit:
    """The tick that levels and prices agree on; the instrument's ``step``, coarser where ``most`` would not fit."""
    _, level, price, _, _ = max(rows, key=lambda row: abs(row[1]))
    number, places = parts(float(f"{price / level:.10g}")) if level else parts(rows[0][0] or 1.0)
    step_number, step_places = parts(step or STEP_DEFAULT)
    while most * 10**step_places / step_number > _EXACT and step_places > 0:
        step_places -= 1
    return Unit((number, places), (step_number, step_places))


def folded(rows: list[tuple[Any, ...]], unit: Unit) -> Rows:
    """Rows of mixed heights on the least common one, doubled until they are few enough."""
    wide = np.round(np.array([row[0] for row in rows]) * unit.per_price).astype(np.int64)
    levels = np.array([row[1] for row in rows], np.int64)
    least, most = int(wide.min()), int(wide.max())
    shift = (most // least).bit_length() - 1
    if np.any((wide % least != 0) | ((wide // least) & (wide // least - 1) != 0)):  # rows of different days
        least, shift = int(np.lcm.reduce(np.unique(wide))), 0
    buckets = levels // least
    low, high = int(buckets.min()), int(buckets.max())
    while (high >> shift) - (low >> shift) >= ROWS_MAX:  # ends: every round halves it
        shift += 1
    first = low >> shift
    size = (high >> shift) - first + 1
    buy, sell = np.zeros(size, np.int64), np.zeros(size, np.int64)
    place = (buckets >> shift) - first
    np.add.at(buy, place, to_lots(np.array([row[3] for row in rows]), unit.per_size))
    np.add.at(sell, place, to_lots(np.array([row[4] for row in rows]), unit.per_size))
    return Rows(least, shift, first, buy, sell)


def _meta(rows: Rows, unit: Unit) -> Ints:
    meta = np.zeros(COLUMNS, np.int64)
    meta[TICK : TICK + 2], meta[STEP : STEP + 2] = unit.tick, unit.step
    meta[ROW], meta[SHIFT], meta[FIRST] = rows.row, rows.shift, rows.first
    return meta


class Renderer:
    """One buffer for all texts; they are copied out of it."""

    def __init__(self, options: Floats = DEFAULTS) -> None:
        self._options = options
        self._out = np.empty(2 * ROOM, np.uint8)
        self._marks = np.zeros(ROWS_MAX, np.uint8)

    def candle(self, prefix: bytes, head: Head, price_rows: list[tuple[Any, ...]], step: float | None) -> msgspec.Raw:
        """A closed footprint candle as JSON. ``prefix`` is its beginning, up to ``interval``."""
        unit = unit_of(price_rows, step, head.buy + head.sell)
        rows = folded(price_rows, unit)
        meta = _meta(rows, unit)
        meta[[OPEN, HIGH, LOW, CLOSE]] = to_grid(np.array([head.open, head.high, head.low, head.close]), unit.per_price)
        meta[[BUY_COLUMN, SELL_COLUMN]] = to_lots(np.array([head.buy, head.sell]), unit.per_size)
        meta[DELTA] = meta[BUY_COLUMN] - meta[SELL_COLUMN]
        sums = np.array([head.min_delta, head.max_delta, head.cvd])
        meta[[DELTA_MIN, DELTA_MAX, CVD]] = np.round(sums * unit.per_size).astype(np.int64)
        meta[START], meta[BUYS], meta[REVISION] = head.timestamp, head.trades, head.revision
        meta[INCOMPLETE], meta[SEQUENCE], meta[AS_OF] = not head.complete, head.sequence, head.as_of
        end = candle(self._out, 0, meta, rows.buy, rows.sell, len(rows.buy), True, self._marks, self._options)
        return msgspec.Raw(prefix + self._out[:end].tobytes())
