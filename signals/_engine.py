"""Folds batches of trades into candles and closes them, in stream order. What closed goes to the ledger."""

from __future__ import annotations

from schemas import time
from signals._candle import take
from signals._grid import Grids
from signals._groups import CLOSING, DONE, LATE
from signals._kernel import fold
from signals._late import Late, unit_of
from signals._layout import (
    AS_OF,
    CVD,
    DAY,
    DELTA,
    EMPTY,
    GRACE,
    GRID_COLUMNS,
    SEQUENCE,
    START,
    Candles,
    Columns,
)  # fmt: skip
from signals._ledger import Ledger
from signals._merge import absorb, clear
from signals._passes import APPLIED, OFF_GRID, OFF_STEP, TOO_FAR, TOO_LARGE
from signals._state import State
from signals._watch import Watch


class Engine:
    """The state is a function of the order of events alone: where batches are cut makes no difference."""

    def __init__(self, state: State, grids: Grids, closed: Ledger, late_horizon: int, watch: Watch) -> None:
        self.state = state
        self.closed = closed
        self._grids = grids
        self.watch = watch
        self.late = Late(state, closed, self._grid_of, late_horizon)

    def apply(self, batch: Columns) -> None:
        """Fold a batch of events that are distinct and in stream order."""
        state, at, watched = self.state, 0, 0
        while True:  # every round moves on or closes
            at, why = fold(
                at, batch, state.clocks, state.spans.base, state.live, state.rings, state.scale,
                state.grid_day, state.grid, state.grid_scale, state.dirty, state.counts, state.groups,
            )  # fmt: skip
            if why in (DONE, CLOSING):  # before anything closes: the grids of these trades still hold
                self.watch.trades(batch, watched, at)
                watched = at
            if why == DONE:
                self.late.settle()
                return
            if why == CLOSING:
                self._close(int(batch.exchange[at]), int(batch.timestamp[at]), int(batch.sequence[at]))
            elif why == LATE:
                self.late.add(batch, at)
                at += 1
            else:
                slot, day = int(batch.slot[at]), int(batch.timestamp[at]) // DAY
                self._grid_of(slot, day, float(batch.price[at]), float(batch.quantity[at]))

    def counters(self) -> dict[str, int]:
        """What was applied, and what fell beside the grid or over a bound."""
        counts = self.state.counts
        return {
            "trades": int(counts[APPLIED]) + self.late.applied,
            "off_grid": int(counts[OFF_GRID]),
            "off_step": int(counts[OFF_STEP]),
            "too_large": int(counts[TOO_LARGE]),
            "too_far": int(counts[TOO_FAR]),
            "late": self.late.applied,
            "beyond_horizon": self.late.beyond,
        }

    def _grid_of(self, slot: int, day: int, price: float, quantity: float) -> None:
        """See that the slot has a grid for ``day``, today or yesterday by its exchange's clock."""
        state = self.state
        if state.grid_day[slot, day & 1] != day:
            exchange, symbol = state.symbols[slot]
            state.set_grid(slot, day, self._grids.choose(exchange, symbol, day, price, quantity))

    def _close(self, exchange: int, now: int, sequence: int) -> None:
        """Close what ends ``GRACE`` before ``now`` or earlier; ``sequence`` is the event that showed the time."""
        self.late.settle()
        state = self.state
        state.advance(exchange, now)
        slots = state.slots_of(exchange)
        count = len(state.spans)
        last = now - GRACE
        for slot in slots.tolist():
            for row in self._live_rows(slot):
                begin = int(state.live.meta[row, START])
                if begin + state.spans.base > last:
                    continue
                self._close_parts(slot, begin, now, sequence)
                self._roll(slot, row, begin, now, sequence)
            ends = state.parts.meta[slot * count : slot * count + count, START]
            if ((ends != EMPTY) & (ends + state.durations <= last)).any():
                self._close_parts(slot, last, now, sequence)
        until = last - last % state.spans.lengths[state.spans.minute]
        if until != state.minutes[exchange, 0]:
            state.minutes[exchange] = until, sequence, now
            for minutes in self.closed.minutes:
                minutes.closed(exchange, until)

    def _live_rows(self, slot: int) -> list[int]:
        """The slot's live candles, older first."""
        begins = self.state.live.meta[2 * slot : 2 * slot + 2, START].tolist()
        rows = [2 * slot + n for n in (0, 1) if begins[n] != EMPTY]
        return sorted(rows, key=lambda row: begins[row - 2 * slot])

    def _roll(self, slot: int, row: int, begin: int, now: int, sequence: int) -> None:
        """Close base candle ``row`` and add it to the closed part of every longer interval."""
        state = self.state
        for interval in range(1, len(state.spans)):
            length = state.spans.lengths[interval]
            absorb(state.parts, state.part(slot, interval), state.live, row, begin - begin % length)
        if not state.since[slot]:
            state.since[slot] = begin - begin % time.MINUTE
        clear(state.scratch, 0)
        absorb(state.scratch, 0, state.live, row, begin)
        self._finish(slot, 0, state.scratch, 0, now, sequence)
        clear(state.live, row)

    def _close_parts(self, slot: int, until: int, now: int, sequence: int) -> None:
        """Close the slot's longer candles that end at ``until`` or before."""
        state = self.state
        for interval in range(1, len(state.spans)):
            part = state.part(slot, interval)
            begin = int(state.parts.meta[part, START])
            if begin == EMPTY or begin + state.spans.lengths[interval] > until:
                continue
            self._finish(slot, interval, state.parts, part, now, sequence)
            if interval == state.spans.day:
                meta = state.parts.meta[part]
                state.running[slot] += int(meta[DELTA]) * unit_of(meta[GRID_COLUMNS])
            clear(state.parts, part)

    def _finish(self, slot: int, interval: int, source: Candles, place: int, now: int, sequence: int) -> None:
        state = self.state
        candle = take(source, place)
        day = state.parts.meta[state.part(slot, state.spans.day)]
        candle.meta[CVD] = day[DELTA] if day[START] == candle.meta[START] // DAY * DAY else 0
        candle.meta[SEQUENCE], candle.meta[AS_OF] = sequence, now
        state.dirty[slot] = 1
        state.closings[slot] = sequence, now
        self.closed.put(slot, interval, candle, publish=True)
        self.watch.closed(slot, interval, candle, now, sequence)
