"""Volume by bucket, added and taken away exactly, also across candles of different grids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        self._add(frame_of(candle), _places(int(candle.meta[FIRST]), candle.buy), candle.buy, candle.sell, sign)

    def add_all(self, own: Frame, candles: Sequence[Candle]) -> None:
        """Add candles of one frame together."""
        sizes = np.array([len(candle.buy) for candle in candles], np.int64)
        firsts = np.array([candle.meta[FIRST] for candle in candles], np.int64)
        places = np.arange(sizes.sum()) + np.repeat(firsts - (sizes.cumsum() - sizes), sizes)
        buy, sell = (np.concatenate([getattr(candle, side) for candle in candles]) for side in ("buy", "sell"))
        self._add(own, places, buy, sell)

    def reach(self) -> int:
        """Rows from the lowest to the highest that hold volume."""
        used = np.flatnonzero(self.buy + self.sell)
        return int(used[-1] - used[0]) + 1 if len(used) else 0

    def converted(self, frame: Frame) -> Rows:
        """A copy in a frame that this one fits into."""
        rows = Rows(frame)
        if len(self.buy):
            rows._add(self.frame, _places(self.first, self.buy), self.buy, self.sell)
        return rows

    def _add(self, own: Frame, places: Ints, buy: Ints, sell: Ints, sign: int = 1) -> None:
        """What lies in buckets of a frame that fits into this one."""
        if not len(places):
            return
        to, factor = places // (self.frame.row // own.row), sign * (own.step // self.frame.step)
        self._hold(int(to.min()), int(to.max()))
        to -= self.first
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


def _places(first: int, rows: Ints) -> Ints:
    return np.arange(first, first + len(rows))


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
        alike: dict[Frame, list[Candle]] = {}
        self.members = {}
        for minute in minutes:
            frame = self.members[minute.timestamp] = frame_of(minute)
            alike.setdefault(frame, []).append(minute)
        self.rows = Rows(joined(alike) if alike else Frame(1, 1))
        for frame, its in alike.items():
            self.rows.add_all(frame, its)

    def fits(self) -> bool:
        """Whether the rows are in the finest frame for the members."""
        return self.rows.frame == (joined(set(self.members.values())) if self.members else Frame(1, 1))
