"""Fills an engine that has no snapshot with closed candles from the tables, up to where the log begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import structlog

from schemas import time
from signals._candle import Candle, put, take
from signals._core import Core
from signals._gaps import Hole
from signals._grid import Grid, to_grid, to_lots
from signals._late import unit_of
from signals._layout import (
    AS_OF,
    BUY,
    BUYS,
    CLOCK,
    CLOSE,
    CLOSE_ID,
    CLOSE_TIME,
    COLUMNS,
    CVD,
    DAY,
    DELTA,
    DELTA_MAX,
    DELTA_MIN,
    FIRST,
    GRACE,
    GRID_COLUMNS,
    HIGH,
    INCOMPLETE,
    LAST,
    LOW,
    OPEN,
    OPEN_ID,
    OPEN_TIME,
    REVISION,
    SELL,
    SELLS,
    SEQUENCE,
    SHIFT,
    START,
)  # fmt: skip
from signals._merge import absorb, clear
from signals._moments import put_moments
from signals._tables import Tables

_log = structlog.get_logger()
DAYS_MAX = 35
"""Days read back: 200 candles of four hours."""
SECONDS_MAX = 60.0
"""Reading stops after so long, newest days first."""


class Seed:
    """Reads closed minutes and makes the longer candles of them. Candles shorter than a minute are not kept there.

    Days before that of ``since`` (µs) are not read.
    """

    def __init__(self, core: Core, tables: Tables, monotonic: Callable[[], float], since: int = 0) -> None:
        self._since = since
        self._core, self._tables, self._monotonic = core, tables, monotonic
        self._state = core.state
        self.minutes = self.skipped = 0

    async def fill(self, untils: Mapping[str, int]) -> None:
        """Everything of an exchange before its minute in ``untils`` (µs). Raises TablesAway."""
        await self._gaps()
        series = await self._tables.fetch("signal_series")
        deadline = self._monotonic() + SECONDS_MAX
        for exchange, symbol, first, last in sorted(series):
            until = untils.get(exchange, 0)
            last = min(last, until - time.MINUTE)
            if last < max(first, self._since) or not self._core.part.owns(exchange, symbol):
                continue
            slot = self._state.slot(exchange, symbol)
            x = int(self._state.exchange_of[slot])
            newest = last // DAY
            oldest = max(first // DAY, newest - DAYS_MAX, self._since // DAY)
            begun = newest + 1
            share = self._monotonic() + (deadline - self._monotonic()) / len(series)
            for day in range(newest, oldest - 1, -1):
                if day < newest - 1 and self._monotonic() > share:
                    break
                await self._day(slot, day, until)
                begun = day
            self._state.since[slot] = first
            await self._before(slot, begun * DAY)
            if self._state.clocks[x, CLOCK] < last + time.MINUTE + GRACE:
                self._state.advance(x, last + time.MINUTE + GRACE)
        _log.info("seeded", symbols=len(series), minutes=self.minutes, skipped=self.skipped)

    async def _gaps(self) -> None:
        """Gaps that the gap stream may not hold any more."""
        for exchange, symbol, begin, from_id, end, status, revision, updated in await self._tables.fetch("signal_gaps"):
            end = max(end or 0, begin)
            hole = Hole(begin, end, end, status, revision or 0, updated or 0)
            self._state.gaps.learn((exchange, symbol), from_id or "", hole)

    async def _before(self, slot: int, begun: int) -> None:
        """The running delta of days that were not read."""
        exchange, symbol = self._state.symbols[slot]
        delta = (await self._tables.fetch("signal_delta", exchange, symbol, begun))[0][0]
        grid = self._state.grid[slot, int(self._state.grid_day[slot].argmax())]
        unit = unit_of(grid)
        if unit:
            self._state.running[slot] += round(delta * 10**18 / unit) * unit

    async def _day(self, slot: int, day: int, until: int) -> None:
        exchange, symbol = self._state.symbols[slot]
        span = exchange, symbol, day * DAY, min((day + 1) * DAY, until)
        heads = await self._tables.fetch("signal_candles", *span)
        rows: dict[int, list[tuple[float, ...]]] = defaultdict(list)
        for row in await self._tables.fetch("signal_rows", *span):
            rows[row[0]].append(row[1:])
        if not heads:
            return
        grid = self._core.grids.choose(exchange, symbol, day, heads[0][1], 1.0)
        minutes = [candle for head in heads if (candle := _minute(head, rows[head[0]], grid)) is not None]
        self.skipped += len(heads) - len(minutes)
        self.minutes += len(minutes)
        if self._state.grid_day[slot, day & 1] < day:
            self._state.set_grid(slot, day, grid)
        self._fold(slot, minutes, until)

    def _fold(self, slot: int, minutes: list[Candle], until: int) -> None:
        """Minutes of one day, ascending, into the ledger; longer candles too, or into parts where they are open."""
        state, ledger = self._state, self._core.ledger
        total = 0
        for minute in minutes:
            total += int(minute.meta[DELTA])
            minute.meta[CVD] = total
            ledger.put(slot, state.spans.minute, minute, publish=False)
        one, whole = state.spare, state.scratch
        for interval in range(state.spans.minute + 1, len(state.spans)):
            length = state.spans.lengths[interval]
            groups: dict[int, list[Candle]] = defaultdict(list)
            for minute in minutes:
                groups[minute.timestamp - minute.timestamp % length].append(minute)
            for start, members in groups.items():
                clear(whole, 0)
                for minute in members:
                    put(one, 0, minute)
                    absorb(whole, 0, one, 0, start)
                candle = take(whole, 0)
                if start + length > until:
                    put(state.parts, state.part(slot, interval), candle)
                    continue
                candle.meta[CVD] = members[-1].meta[CVD]
                ledger.put(slot, interval, candle, publish=False)
                if interval == state.spans.day:
                    state.running[slot] += int(candle.meta[DELTA]) * unit_of(candle.meta[GRID_COLUMNS])


def _minute(head: tuple[Any, ...], rows: list[tuple[float, ...]], grid: Grid) -> Candle | None:
    """The candle of a row of ``candles`` and its ``footprints``; None where they do not go together any more."""
    (start, opened, high, low, closed, buy, sell, buy_value, sell_value, buys, sells, least, most,
     revision, complete, sequence, as_of, trades, vwap, variance) = head  # fmt: skip
    scale, wide = grid.scale, [round(row[1] / grid.tick) for row in rows]
    if not rows or len(set(wide)) != 1 or wide[0] % grid.row or buys + sells != trades:
        return None
    ratio = wide[0] // grid.row
    if ratio & (ratio - 1):
        return None
    levels = np.array([row[0] for row in rows], np.int64) // wide[0]
    meta = np.zeros(COLUMNS, np.int64)
    meta[[OPEN, HIGH, LOW, CLOSE]] = to_grid(np.array([opened, high, low, closed]), scale[0])
    meta[[BUY, SELL]] = to_lots(np.array([buy, sell]), scale[1])
    meta[[DELTA_MIN, DELTA_MAX]] = np.round(np.array([least, most]) * scale[1]).astype(np.int64)
    meta[START], meta[BUYS], meta[SELLS] = start, buys, sells
    meta[OPEN_TIME], meta[CLOSE_TIME], meta[OPEN_ID], meta[CLOSE_ID] = start, start + time.MINUTE - 1, -1, -1
    meta[DELTA] = meta[BUY] - meta[SELL]
    meta[FIRST], meta[LAST], meta[SHIFT] = levels[0], levels[-1], ratio.bit_length() - 1
    meta[SEQUENCE], meta[AS_OF], meta[REVISION], meta[INCOMPLETE] = sequence, as_of, revision, not complete
    meta[GRID_COLUMNS] = grid
    total, mean = int(meta[BUY] + meta[SELL]), (vwap or 0.0) * scale[0] - grid.reference
    put_moments(meta, round(mean * total), round(((variance or 0.0) * scale[0] ** 2 + mean * mean) * total))
    size = int(levels[-1] - levels[0]) + 1
    lots, counts, place = np.zeros((2, size), np.int64), np.zeros((2, size), np.int32), levels - levels[0]
    lots[0, place] = to_lots(np.array([row[2] for row in rows]), scale[1])
    lots[1, place] = to_lots(np.array([row[3] for row in rows]), scale[1])
    counts[0, place], counts[1, place] = [row[4] for row in rows], [row[5] for row in rows]
    return Candle(meta, np.array([buy_value, sell_value]), lots[0], lots[1], counts[0], counts[1])
