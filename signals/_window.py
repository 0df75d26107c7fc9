"""Volume by bucket, added and taken away exactly, also across candles of different grids."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd, lcm
from typing import NamedTuple

import numpy as np

from signals._candle import Candle
from signals._layout import FIRST, ROW, SHIFT, STEP, STEP_DECIMALS, TICK, TICK_DECIMALS, Ints
from signals._write import DECIMALS_MAX


class Frame(NamedTuple):
    """A row width and a quantity step, both in 1e-18, so that candles of different grids add up exactly."""

    row: int
    step: int


def frame_of(candle: Candle) -> Frame:
    """The frame a candle is kept in."""
    meta = candle.meta.tolist()
    return Frame(
        (meta[ROW] << meta[SHIFT]) * meta[TICK] * 10 ** (DECIMALS_MAX - meta[TICK_DECIMALS]),
        meta[STEP] * 10 ** (DECIMALS_MAX - meta[STEP_DECIMALS]),
    )


def joined(frames: Iterable[Frame]) -> Frame:
    """The finest frame all of them fit into."""
    frames = list(frames)
    return Frame(lcm(*(frame.row for frame in frames)), gcd(*(frame.step for frame in frames)))


class Rows:
    """Volume by bucket of one frame; grows where it must."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.first = 0
        self.buy: Ints = np.zeros(0, np.int64)
        self.sell: Ints = np.zeros(0, np.int64)

    def add(self, candle: Candle, sign: int) -> None:
        """Add a candle, or take it away with ``sign`` -1."""
        own = frame_of(candle)
        first = int(candle.meta[FIRST])
        self._add(first, candle.buy, candle.sell, self.frame.row // own.row, sign * (own.step // self.frame.step))

    def reach(self) -> int:
        """Rows from the lowest to the highest that hold volume."""
        used = np.flatnonzero(self.buy + self.sell)
        return int(used[-1] - used[0]) + 1 if len(used) else 0

    def converted(self, frame: Frame) -> Rows:
        """A copy in a frame that this one fits into."""
        rows = Rows(frame)
        if len(self.buy):
            rows._add(self.first, self.buy, self.sell, frame.row // self.frame.row, self.frame.step // frame.step)
        return rows

    def _add(self, first: int, buy: Ints, sell: Ints, wider: int, factor: int) -> None:
        """Rows from bucket ``first`` on, ``wider`` of which make one of ours; sizes times ``factor``."""
        last = (first + len(buy) - 1) // wider
        begin = first // wider
        self._hold(begin, last)
        to = (np.arange(first, first + len(buy)) // wider) - self.first
        np.add.at(self.buy, to, buy * factor)
        np.add.at(self.sell, to, sell * factor)

    def _hold(self, begin: int, last: int) -> None:
        if not len(self.buy):
            self.first = begin
        spare = 32
        before = max(self.first - begin + spare, 0) if begin < self.first else 0
        after = max(last + 1 - self.first - len(self.buy) + spare, 0) if last >= self.first + len(self.buy) else 0
        if before or after:
            self.buy, self.sell = (_padded(rows, before, after) for rows in (self.buy, self.sell))
            self.first -= before


def _padded(rows: Ints, before: int, after: int) -> Ints:
    wider: Ints = np.zeros(before + len(rows) + after, np.int64)
    wider[before : before + len(rows)] = rows
    return wider


class Window:
    """The closed minutes of one slot in one rolling range."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.members: dict[int, Frame] = {}
        self.rows = Rows(Frame(1, 1))

    def renew(self, minutes: Iterable[Candle]) -> None:
        """Begin anew with these minutes."""
        kept = list(minutes)
        self.members = {minute.timestamp: frame_of(minute) for minute in kept}
        self.rows = Rows(joined(self.members.values()) if kept else Frame(1, 1))
        for minute in kept:
            self.rows.add(minute, 1)

    def fits(self) -> bool:
        """Whether the rows are in the finest frame for the members."""
        return self.rows.frame == (joined(set(self.members.values())) if self.members else Frame(1, 1))
