"""What the engine knows: symbols and their slots, event time, live candles, closed parts, grids."""

from __future__ import annotations

from hashlib import blake2b
from math import gcd

import numpy as np

from schemas import time
from signals._gaps import Gaps
from signals._grid import Grid
from signals._groups import groups
from signals._layout import (
    CLOCK,
    CLOSES,
    CURRENT,
    DAY,
    DAY_BEFORE,
    DAY_NOW,
    GRACE,
    LIVE_ROWS,
    PARITY,
    PART_ROWS,
    REFERENCE,
    TICK,
    Ints,
    candles,
    grown,
    rings,
)  # fmt: skip

SLOTS_FIRST, EXCHANGES_FIRST = 16, 4
BASE_MAX, BASE_MIN = 10 * time.SECOND, time.SECOND


class IntervalUnusable(ValueError):
    """An interval that does not divide a day, or is not whole seconds."""


class Spans:
    """The intervals computed: those asked for, one minute and one day; base candles are their common measure."""

    def __init__(self, wanted: list[str]) -> None:
        names = {time.duration(name): name for name in ("1m", "1d", *wanted)}
        for length, name in names.items():
            if length % time.SECOND or DAY % length:
                raise IntervalUnusable(f"signals.intervals: {name} does not divide a day into whole seconds")
        self.base = gcd(BASE_MAX, *names)
        names.setdefault(self.base, f"{self.base // time.SECOND}s")
        self.lengths = sorted(names)
        self.names = [names[length] for length in self.lengths]
        self.shown = [length in {time.duration(name) for name in wanted} for length in self.lengths]
        self.minute = self.lengths.index(time.MINUTE)
        self.day = self.lengths.index(DAY)

    def __len__(self) -> int:
        return len(self.lengths)


class State:
    """Arrays by slot (a symbol of an exchange) and by exchange; both only ever grow."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.durations: Ints = np.array(spans.lengths, np.int64)
        self.shown: Ints = np.array(spans.shown, np.int64)
        self.exchanges: list[str] = []
        self.symbols: list[tuple[str, str]] = []
        self._index: dict[tuple[str, str], int] = {}
        self.clocks = np.zeros((EXCHANGES_FIRST, 6), np.int64)
        self.minutes = np.zeros((EXCHANGES_FIRST, 3), np.int64)
        """End of the last closed minute, and the sequence and event time of its close."""
        self.rings = rings(2 * SLOTS_FIRST, LIVE_ROWS)
        self.live = candles(2 * SLOTS_FIRST, LIVE_ROWS, self.rings)
        self.groups = groups(2 * SLOTS_FIRST)
        self.parts = candles(len(spans) * SLOTS_FIRST, PART_ROWS)
        self.scale = np.zeros((2 * SLOTS_FIRST, 3))
        self.grid_day = np.full((SLOTS_FIRST, 2), -1, np.int64)
        self.grid = np.zeros((SLOTS_FIRST, 2, REFERENCE - TICK + 1), np.int64)
        self.grid_scale = np.zeros((SLOTS_FIRST, 2, 3))
        self.dirty = np.zeros(SLOTS_FIRST, np.int64)
        self.touched = np.zeros((SLOTS_FIRST, 2), np.int64)
        """Sequence and event time of the last late trade of the slot: it moved the CVD of open candles."""
        self.closings = np.zeros((SLOTS_FIRST, 2), np.int64)
        """Sequence and event time of the slot's last close."""
        self.exchange_of = np.zeros(SLOTS_FIRST, np.int64)
        self.salt = np.zeros(SLOTS_FIRST, np.uint64)
        self.running: list[int] = []
        """Delta of all closed days, in 1e-18 base units."""
        self.since: list[int] = []
        """When ``running`` began; 0 before the first trade."""
        self.counts = np.zeros(5, np.int64)
        self.gaps = Gaps()
        self.scratch = candles(1, PART_ROWS)
        self.spare = candles(1, PART_ROWS)

    def exchange(self, name: str) -> int:
        """The number of an exchange, given to it if it is new."""
        if name not in self.exchanges:
            self.exchanges.append(name)
            if len(self.exchanges) > len(self.clocks):
                self.clocks = np.concatenate([self.clocks, np.zeros_like(self.clocks)])
                self.minutes = np.concatenate([self.minutes, np.zeros_like(self.minutes)])
        return self.exchanges.index(name)

    def slot(self, exchange: str, symbol: str) -> int:
        """The slot of a symbol, given to it if it is new."""
        who = (exchange, symbol)
        found = self._index.get(who)
        if found is not None:
            return found
        slot = self._index[who] = len(self.symbols)
        self.symbols.append(who)
        if slot == len(self.dirty):
            self._grow(2 * slot)
        self.exchange_of[slot] = self.exchange(exchange)
        digest = blake2b(f"{exchange}:{symbol}".encode(), digest_size=8).digest()
        self.salt[slot] = int.from_bytes(digest, "little")
        self.running.append(0)
        self.since.append(0)
        return slot

    def known(self, exchange: str, symbol: str) -> int | None:
        """The slot of a symbol that has one."""
        return self._index.get((exchange, symbol))

    def _grow(self, slots: int) -> None:
        self.rings = rings(2 * slots, LIVE_ROWS)
        self.live = grown(self.live, 2 * slots, self.rings)
        self.groups = groups(2 * slots)
        self.parts = grown(self.parts, len(self.spans) * slots)
        self.scale = np.concatenate([self.scale, np.zeros_like(self.scale)])
        self.grid_day = np.concatenate([self.grid_day, np.full_like(self.grid_day, -1)])
        self.grid = np.concatenate([self.grid, np.zeros_like(self.grid)])
        self.grid_scale = np.concatenate([self.grid_scale, np.zeros_like(self.grid_scale)])
        self.dirty = np.concatenate([self.dirty, np.zeros_like(self.dirty)])
        self.touched = np.concatenate([self.touched, np.zeros_like(self.touched)])
        self.closings = np.concatenate([self.closings, np.zeros_like(self.closings)])
        self.exchange_of = np.concatenate([self.exchange_of, np.zeros_like(self.exchange_of)])
        self.salt = np.concatenate([self.salt, np.zeros_like(self.salt)])

    def set_grid(self, slot: int, day: int, grid: Grid) -> None:
        """Pin the grid of a slot for UTC day number ``day``."""
        self.grid_day[slot, day & 1] = day
        self.grid[slot, day & 1] = grid
        self.grid_scale[slot, day & 1] = grid.scale

    def advance(self, exchange: int, timestamp: int) -> None:
        """Move an exchange's event time on to ``timestamp``, which is later; closing is the caller's."""
        base, row = self.spans.base, self.clocks[exchange]
        current = timestamp - timestamp % base
        row[CLOCK], row[CURRENT], row[PARITY] = timestamp, current, (timestamp // base) & 1
        row[DAY_NOW], row[DAY_BEFORE] = timestamp // DAY, (current - base) // DAY
        row[CLOSES] = (timestamp - GRACE) // base * base + base + GRACE

    def part(self, slot: int, interval: int) -> int:
        """The place in ``parts`` of a slot's closed part of an interval."""
        return slot * len(self.spans) + interval

    def slots_of(self, exchange: int) -> Ints:
        """The slots of an exchange, ascending."""
        return np.flatnonzero(self.exchange_of[: len(self.symbols)] == exchange)
