"""Footprints and profiles of several exchanges as one. Prices and sizes add up as integers, on the coarsest row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd, lcm
from typing import Any, NamedTuple

import msgspec
import numpy as np

from schemas.candles import FootprintCandle
from signals._layout import (
    AS_OF,
    BUY,
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
    SELL,
    SEQUENCE,
    START,
    STEP,
    STEP_DECIMALS,
    TICK,
    TICK_DECIMALS,
    Floats,
    Ints,
)  # fmt: skip
from signals._options import DEFAULTS
from signals._render import ROOM, candle, profile
from signals._write import parts

_STEP_PLACES = 8
"""Sizes are added in 1e-8 base units, or in larger ones of a power of ten where so many would not be exact."""
_EXACT_MAX, _WHOLE_MAX = 2**53, 2**62
_LOTS = 100_000_000
_PLACES = 12
"""Prices are compared in 1e-12 quote units."""


class ProfileRows(msgspec.Struct):
    """What is needed of a profile's key."""

    tick: float
    row: float
    prices: list[float]
    buys: list[float]
    sells: list[float]
    sequence: int
    as_of: int
    from_: int = msgspec.field(name="from")
    to: int


class Grid(NamedTuple):
    """Volume; row ``i`` begins at ``(first + i) * row``, in 1e-12 quote units; sizes have ``places`` decimals."""

    tick: int
    row: int
    first: int
    places: int
    buy: Ints
    sell: Ints


@lru_cache(maxsize=20_000)
def _exact(number: float) -> int:
    count, places = parts(round(number, _PLACES))
    return int(count * 10 ** (_PLACES - places))


def lots(quantity: float) -> int:
    """A size in 1e-8 base units."""
    return round(quantity * _LOTS)


def size(count: int) -> float:
    """The size of so many 1e-8 base units."""
    return float(count / _LOTS)


def _step_places(total: float, beside: float) -> int:
    """Decimals with which sizes are added: some coins trade by the million million, and 64 bits hold 9e10 in 1e-8."""
    places = _STEP_PLACES
    while places > 0 and (total * 10**places > _EXACT_MAX or beside * 10**places > _WHOLE_MAX):
        places -= 1
    return places


def coarsest(rows: Sequence[int]) -> int:
    """The least row that all divide; the greatest of them where the least one would be far coarser than that."""
    row = lcm(*rows)
    return row if row <= 4 * max(rows) else max(rows)


def summed(members: Sequence[FootprintCandle | ProfileRows], beside: float = 0.0) -> Grid:
    """Rows of all members; a member's row goes where its lower edge lies. The row doubles until there are 400.

    ``beside``: the largest size that is to be told with them.
    """
    some = [one for one in members if one.prices]
    rows = [_exact(one.row) for one in some]
    edges = [_exact(one.prices[0]) for one in some]
    row, low = coarsest(rows), min(edges)
    high = max(edge + its * (len(one.prices) - 1) for edge, its, one in zip(edges, rows, some, strict=True))
    while high // row - low // row >= ROWS_MAX:  # ends: every round halves the number of rows
        row *= 2
    first, count = low // row, high // row - low // row + 1
    buy, sell = np.zeros(count, np.int64), np.zeros(count, np.int64)
    step_places = _step_places(sum(sum(one.buys) + sum(one.sells) for one in some), beside)
    scale = 10**step_places
    for one, edge, its in zip(some, edges, rows, strict=True):
        places = (edge + its * np.arange(len(one.prices), dtype=np.int64)) // row - first
        np.add.at(buy, places, np.rint(np.array(one.buys) * scale).astype(np.int64))
        np.add.at(sell, places, np.rint(np.array(one.sells) * scale).astype(np.int64))
    return Grid(gcd(row, *(_exact(one.tick) for one in some)), row, first, step_places, buy, sell)


class SumWriter:
    """Sums to JSON, by the renderer that writes single candles; holds its buffers."""

    def __init__(self, options: Floats = DEFAULTS) -> None:
        self._options = options
        self._out = np.empty(2 * ROOM, np.uint8)
        self._marks = np.zeros(ROWS_MAX, np.uint8)

    def candle(self, who: tuple[str, str], members: Sequence[FootprintCandle], cvd: int, more: dict[str, Any]) -> bytes:
        """The sum of candles of one interval and time; ``cvd`` in 1e-8 base units, ``more`` goes to the end."""
        grid = summed(members, abs(size(cvd)))
        meta = _meta(grid)
        _fill(meta, members, grid, cvd)
        closed = all(one.closed for one in members)
        end = candle(self._out, 0, meta, grid.buy, grid.sell, len(grid.buy), closed, self._marks, self._options)
        return self._text(who, f'"interval":"{members[0].interval}"', end, more)

    def profile(
        self, who: tuple[str, str], name: str, members: Sequence[ProfileRows], more: dict[str, Any]
    ) -> bytes:  # fmt: skip
        """The sum of profiles of one range."""
        grid = summed(members)
        meta = _meta(grid)
        meta[SEQUENCE], meta[AS_OF] = max(one.sequence for one in members), max(one.as_of for one in members)
        begin, end = min(one.from_ for one in members), max(one.to for one in members)
        last = profile(self._out, 0, meta, grid.buy, grid.sell, len(grid.buy), begin, end, self._options)
        return self._text(who, f'"range":"{name}"', last, more)

    def _text(self, who: tuple[str, str], second: str, end: int, more: dict[str, Any]) -> bytes:
        head = f'{{"exchange":"{who[0]}","symbol":"{who[1]}",{second},'
        return head.encode() + self._out[: end - 1].tobytes() + b"," + msgspec.json.encode(more)[1:]


def _meta(grid: Grid) -> Ints:
    meta = np.zeros(COLUMNS, np.int64)
    meta[[TICK, TICK_DECIMALS, STEP, STEP_DECIMALS]] = grid.tick, _PLACES, 1, grid.places
    meta[[ROW, FIRST]] = grid.row // grid.tick, grid.first
    return meta


def _fill(meta: Ints, members: Sequence[FootprintCandle], grid: Grid, cvd: int) -> None:
    """Everything of a candle but its rows. Open and close are means weighted by volume, on the tick."""
    tick, scale, unit = grid.tick, 10**grid.places, 10 ** (_STEP_PLACES - grid.places)
    volumes = [lots(one.buy) + lots(one.sell) for one in members]
    for place, name in ((OPEN, "open"), (CLOSE, "close")):
        weighted = sum(_exact(getattr(one, name)) * volume for one, volume in zip(members, volumes, strict=True))
        meta[place] = round(weighted / max(sum(volumes), 1) / tick)
    meta[LOW] = min(_exact(one.low) for one in members) // tick
    meta[HIGH] = -(-max(_exact(one.high) for one in members) // tick)
    for place, name in (
        (BUY, "buy"), (SELL, "sell"), (DELTA, "delta"), (DELTA_MIN, "min_delta"), (DELTA_MAX, "max_delta"),
    ):  # fmt: skip
        meta[place] = sum(round(getattr(one, name) * scale) for one in members)
    meta[START], meta[CVD] = members[0].timestamp, (cvd + unit // 2) // unit
    meta[BUYS] = sum(one.trades for one in members)
    # One more for each member, so that a sum that gained one is told from the sum before.
    meta[REVISION] = sum(one.revision + 1 for one in members) - 1
    meta[INCOMPLETE] = not all(one.complete for one in members)
    meta[SEQUENCE], meta[AS_OF] = max(one.sequence for one in members), max(one.as_of for one in members)
