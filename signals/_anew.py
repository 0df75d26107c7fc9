"""Minutes computed anew from the table: what came later than the horizon is taken from there, once and whole."""

from __future__ import annotations

import numpy as np

from schemas import time
from signals._candle import Candle, put, take
from signals._core import Core
from signals._grid import Grid, to_grid, to_lots
from signals._late import Mark, shift_cvd, unit_of
from signals._layout import (
    AS_OF,
    BUY,
    BUYS,
    CVD,
    DAY,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    EMPTY,
    FIRST,
    FIRST_HIGH,
    FIRST_LOW,
    GRACE,
    GRID_COLUMNS,
    INCOMPLETE,
    LAST,
    REVISION,
    SECOND_HIGH,
    SECOND_LOW,
    SELL,
    SELLS,
    SEQUENCE,
    SHIFT,
    START,
    Candles,
    Columns,
    Ints,
)  # fmt: skip
from signals._merge import absorb, add_trades, clear, fit, stretch


class Anew:
    """Applies the difference between a minute as the table has it and as the engine has it, to every candle."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._state, self._ledger = core.state, core.ledger

    def apply(self, slot: int, minute: int, trades: Columns, mark: Mark) -> int:
        """``trades`` is all of the minute, sorted. Returns how many of them were not in the candles before."""
        held = self._ledger.get(slot, self._state.spans.minute, minute)
        new = len(trades.timestamp) - (int(held.meta[BUYS] + held.meta[SELLS]) if held else 0)
        if new <= 0:
            return 0
        grid, scale = self._grid(slot, minute // DAY, held, trades)
        ticks, lots = to_grid(trades.price, scale[0]), to_lots(trades.quantity, scale[1])
        trades = trades._replace(sequence=np.full(len(ticks), mark.sequence))
        moved = []
        for interval, length in enumerate(self._state.spans.lengths):
            if length > time.MINUTE:
                break
            for start in range(minute, minute + time.MINUTE, length):
                own = (trades.timestamp >= start) & (trades.timestamp < start + length)
                part = Columns._make(column[own] for column in trades)
                delta = self._renew(slot, interval, start, part, ticks[own], lots[own], mark, grid)
                if interval == 0:
                    moved.append((start, delta))
        fresh = self._ledger.get(slot, self._state.spans.minute, minute)
        if fresh is None:  # the candle is older than what is kept
            return 0
        for interval, length in enumerate(self._state.spans.lengths):
            if length > time.MINUTE:
                self._move(slot, interval, minute - minute % length, held, fresh, new, mark)
        self._shift(slot, minute, moved, held, fresh, mark, grid)
        return new

    def _grid(
        self, slot: int, day: int, held: Candle | None, trades: Columns
    ) -> tuple[Ints, tuple[float, float, float]]:
        """The day's grid: the engine's, that of a candle of the day, or the one its first trade here chooses."""
        state = self._state
        known = held or next(iter(self._ledger.between(slot, state.spans.day, day * DAY, day * DAY + 1)), None)
        if state.grid_day[slot, day & 1] == day:
            grid = Grid(*state.grid[slot, day & 1].tolist())
        elif known is not None:
            grid = Grid(*known.meta[GRID_COLUMNS].tolist())
        else:
            price, quantity = float(trades.price[0]), float(trades.quantity[0])
            grid = self._core.grids.choose(*state.symbols[slot], day, price, quantity)
        return np.array(grid, np.int64), grid.scale

    def _renew(
        self, slot: int, interval: int, start: int, trades: Columns, ticks: Ints, lots: Ints, mark: Mark, grid: Ints
    ) -> int:
        """A candle no longer than a minute, made of exactly ``trades``; returns the change of its delta."""
        held = self._ledger.get(slot, interval, start)
        before = int(held.meta[DELTA]) if held else 0
        delta = int(np.where(trades.is_sell, -lots, lots).sum()) - before
        new = len(ticks) - (int(held.meta[BUYS] + held.meta[SELLS]) if held else 0)
        if new <= 0 or (held is None and self._ledger.is_pruned(slot, interval, start)):
            return delta
        scratch = self._state.scratch
        clear(scratch, 0)
        add_trades(scratch, 0, trades, ticks, lots, start, mark.as_of, grid)
        candle = take(scratch, 0)
        meta = candle.meta
        if held is not None:
            meta[SEQUENCE] = max(meta[SEQUENCE], held.meta[SEQUENCE])
            meta[AS_OF] = max(meta[AS_OF], held.meta[AS_OF])
            meta[CVD], meta[REVISION] = held.meta[CVD], held.meta[REVISION] + new
            meta[INCOMPLETE] = held.meta[INCOMPLETE]
        else:
            earlier = self._ledger.before(slot, interval, start)
            today = earlier is not None and earlier.timestamp >= start - start % DAY
            meta[CVD], meta[REVISION] = earlier.meta[CVD] if earlier is not None and today else 0, new
        self._ledger.put(slot, interval, candle, publish=True)
        return delta

    def _move(
        self, slot: int, interval: int, start: int, old: Candle | None, new: Candle, count: int, mark: Mark
    ) -> None:
        """A candle longer than a minute: what the minute gained is added to it, open or closed."""
        state, length = self._state, self._state.spans.lengths[interval]
        place = state.part(slot, interval)
        closed = start + length + GRACE <= mark.as_of
        if (
            not closed
            and state.parts.meta[place, START] in (EMPTY, start)
            and not self._ledger.has(slot, interval, start)
        ):
            self._gain(state.parts, place, start, old, new)
            return
        kept = self._ledger.get(slot, interval, start)
        if kept is None and self._ledger.is_pruned(slot, interval, start):
            return
        scratch = state.scratch
        clear(scratch, 0)
        if kept is not None:
            put(scratch, 0, kept)
        self._gain(scratch, 0, start, old if kept is not None else None, new)
        candle = take(scratch, 0)
        candle.meta[REVISION] = (int(kept.meta[REVISION]) if kept is not None else 0) + (count if closed else 0)
        candle.meta[CVD] = kept.meta[CVD] if kept is not None else new.meta[CVD]
        self._ledger.put(slot, interval, candle, publish=True)

    def _gain(self, target: Candles, place: int, start: int, old: Candle | None, new: Candle) -> None:
        """Add ``new`` and take ``old`` away from candle ``place``, which holds ``old``."""
        state = self._state
        if target.meta[place, START] == EMPTY or old is None:
            one = state.spare
            put(one, 0, new)
            absorb(target, place, one, 0, start)
            return
        meta, more, less = target.meta[place], new.meta, old.meta
        shift = fit(target, place, int(more[FIRST]), int(more[LAST]), int(more[SHIFT]))
        mask = target.buy.shape[1] - 1
        for candle, sign in ((new, 1), (old, -1)):
            first, last, own = candle.meta[[FIRST, LAST, SHIFT]].tolist()
            to = (np.arange(first, last + 1) >> (shift - own)) & mask
            np.add.at(target.buy[place], to, sign * candle.buy)
            np.add.at(target.sell[place], to, sign * candle.sell)
            np.add.at(target.buys[place], to, (sign * candle.buys).astype(np.int32))
            np.add.at(target.sells[place], to, (sign * candle.sells).astype(np.int32))
            target.values[place] += sign * candle.values
        for column in (BUY, SELL, BUYS, SELLS, DELTA):
            meta[column] += more[column] - less[column]
        for high, low in ((FIRST_HIGH, FIRST_LOW), (SECOND_HIGH, SECOND_LOW)):
            rest = int(meta[low]) + int(more[low]) - int(less[low])
            meta[high] += more[high] - less[high] + (rest >> 32)
            meta[low] = rest & 0xFFFFFFFF
        meta[DELTA_MIN], meta[DELTA_MAX] = min(meta[DELTA_MIN], meta[DELTA]), max(meta[DELTA_MAX], meta[DELTA])
        meta[SEQUENCE], meta[AS_OF] = max(meta[SEQUENCE], more[SEQUENCE]), max(meta[AS_OF], more[AS_OF])
        stretch(target, place, more)

    def _shift(
        self,
        slot: int,
        minute: int,
        moved: list[tuple[int, int]],
        old: Candle | None,
        new: Candle,
        mark: Mark,
        grid: Ints,
    ) -> None:
        """CVD of later candles, the running delta, and the open keys."""
        state = self._state
        signed = np.array([delta for _, delta in moved], np.int64)
        starts = np.array([start for start, _ in moved], np.int64)
        known = np.full(len(moved), mark.sequence), np.full(len(moved), mark.as_of)
        shift_cvd(self._ledger, state, slot, starts, signed, *known)
        gained = int(new.meta[DELTA]) - (int(old.meta[DELTA]) if old is not None else 0)
        if self._ledger.has(slot, state.spans.day, minute - minute % DAY):
            state.running[slot] += gained * unit_of(grid)
        latest = state.touched[slot]
        state.touched[slot] = max(latest[0], mark.sequence), max(latest[1], mark.as_of)
        state.since[slot] = min(state.since[slot] or minute, int(new.meta[START]))
        state.dirty[slot] = 1
