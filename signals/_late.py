"""Trades that arrive after their base candle closed: into every candle they belong to, open or closed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from schemas import time
from signals._candle import put, take
from signals._grid import to_grid, to_lots
from signals._layout import (
    AS_OF,
    CLOCK,
    CVD,
    DAY,
    GRACE,
    REVISION,
    SEQUENCE,
    STEP,
    STEP_DECIMALS,
    TICK,
    Columns,
    Ints,
)  # fmt: skip
from signals._ledger import Ledger
from signals._merge import add_trades, clear
from signals._state import State
from signals._write import DECIMALS_MAX

GridOf = Callable[[int, int, float, float], None]
MARKS_MAX = 50_000


class Mark(NamedTuple):
    """Why a minute must be computed anew from the table: the last trade that came beyond the horizon."""

    sequence: int
    as_of: int
    trades: int


class Late:
    """Collects late trades and applies them together before the next close, or when the batch is done."""

    def __init__(self, state: State, closed: Ledger, grid_of: GridOf, horizon: int) -> None:
        self._state = state
        self._closed = closed
        self._grid_of = grid_of
        self._horizon = horizon
        self._waiting: dict[int, list[tuple[Columns, int, int]]] = {}
        self.marks: dict[tuple[int, int], Mark] = {}
        """(slot, minute) to compute anew."""
        self.applied = self.beyond = self.marks_dropped = 0

    def add(self, batch: Columns, at: int) -> None:
        """Take the late trade ``batch[at]``."""
        slot, timestamp = int(batch.slot[at]), int(batch.timestamp[at])
        now = int(self._state.clocks[batch.exchange[at], CLOCK])
        if timestamp < now - self._horizon:
            self.beyond += 1
            self._mark(slot, timestamp - timestamp % time.MINUTE, int(batch.sequence[at]), now)
            return
        self._waiting.setdefault(slot, []).append((batch, at, now))

    def _mark(self, slot: int, minute: int, sequence: int, now: int) -> None:
        known = self.marks.pop((slot, minute), None)
        if len(self.marks) >= MARKS_MAX:
            self.marks.pop(next(iter(self.marks)))
            self.marks_dropped += 1
        self.marks[slot, minute] = Mark(sequence, now, known.trades + 1 if known else 1)

    def settle(self) -> None:
        """Apply what was collected, in order of arrival."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        for slot in sorted(waiting):
            taken = waiting[slot]
            rows = [[column[at] for column in batch] for batch, at, _ in taken]
            trades = Columns._make(np.array(column) for column in zip(*rows, strict=True))
            now = np.array([now for _, _, now in taken], np.int64)
            days = trades.timestamp // DAY
            for day in np.unique(days).tolist():
                own = days == day
                self._apply(slot, day, Columns._make(column[own] for column in trades), now[own])

    def _apply(self, slot: int, day: int, trades: Columns, now: Ints) -> None:
        """Late trades of one slot and day; ``now`` is the event time each came at."""
        state = self._state
        self._grid_of(slot, day, float(trades.price[0]), float(trades.quantity[0]))
        grid, scale = state.grid[slot, day & 1], state.grid_scale[slot, day & 1]
        ticks, lots = to_grid(trades.price, scale[0]), to_lots(trades.quantity, scale[1])
        for interval, length in enumerate(state.spans.lengths):
            starts = trades.timestamp - trades.timestamp % length
            for start in np.unique(starts).tolist():
                own = starts == start
                part, at = Columns._make(column[own] for column in trades), int(now[own].max())
                if interval and start + length + GRACE > at:
                    place = state.part(slot, interval)
                    add_trades(state.parts, place, part, ticks[own], lots[own], start, at, grid)
                else:
                    self._revise(slot, interval, start, part, ticks[own], lots[own], at, grid)
        signed = np.where(trades.is_sell, -lots, lots)
        shift_cvd(self._closed, state, slot, trades.timestamp, signed, trades.sequence, now)
        if (day + 1) * DAY + GRACE <= int(now[0]):
            state.running[slot] += int(signed.sum()) * unit_of(grid)
        latest = state.touched[slot]
        state.touched[slot] = max(latest[0], trades.sequence.max()), max(latest[1], now.max())
        first = int(trades.timestamp.min()) // time.MINUTE * time.MINUTE
        state.since[slot] = min(state.since[slot] or first, first)
        state.dirty[slot] = 1
        self.applied += len(ticks)

    def _revise(
        self, slot: int, interval: int, start: int, trades: Columns, ticks: Ints, lots: Ints, now: int, grid: Ints
    ) -> None:
        """Trades into a closed candle, which may not have existed. Its CVD is moved by ``shift_cvd``."""
        scratch = self._state.scratch
        kept = self._closed.get(slot, interval, start)
        clear(scratch, 0)
        revision = cvd = 0
        if kept is not None:
            put(scratch, 0, kept)
            revision, cvd = int(kept.meta[REVISION]), int(kept.meta[CVD])
        else:
            earlier = self._closed.before(slot, interval, start)
            if earlier is not None and earlier.timestamp >= start - start % DAY:
                cvd = int(earlier.meta[CVD])
        add_trades(scratch, 0, trades, ticks, lots, start, now, grid)
        candle = take(scratch, 0)
        candle.meta[REVISION], candle.meta[CVD] = revision + len(ticks), cvd
        self._closed.put(slot, interval, candle, publish=True)


def unit_of(grid: Ints) -> int:
    """One step of a grid in 1e-18 base units."""
    step, places = int(grid[STEP - TICK]), int(grid[STEP_DECIMALS - TICK])
    return step * int(10 ** (DECIMALS_MAX - places))


def shift_cvd(
    closed: Ledger, state: State, slot: int, timestamps: Ints, signed: Ints, sequences: Ints, now: Ints
) -> None:
    """Move the CVD of closed candles that end after each of these trades of one day by its signed lots."""
    order = np.argsort(timestamps, kind="stable")
    times = timestamps[order].tolist()
    sums = list(accumulate(signed[order].tolist()))
    sequence, as_of = (list(accumulate(told[order].tolist(), max)) for told in (sequences, now))
    end = times[0] - times[0] % DAY + DAY
    for interval, length in enumerate(state.spans.lengths):
        for candle in closed.between(slot, interval, times[0] - times[0] % length, end):
            moved = bisect_left(times, candle.timestamp + length) - 1
            meta = candle.meta
            meta[CVD] += sums[moved]
            meta[SEQUENCE], meta[AS_OF] = max(meta[SEQUENCE], sequence[moved]), max(meta[AS_OF], as_of[moved])
            closed.put(slot, interval, candle, publish=False)
