"""``profile:<x>:<range>``: volume by price over sessions, the week, rolling hours and from anchors."""

from __future__ import annotations

import numpy as np

from schemas import time
from schemas.names import key
from signals._candle import Candle, take
from signals._layout import (
    AS_OF,
    COLUMNS,
    DAY,
    EMPTY,
    FIRST,
    GRID_COLUMNS,
    ROW,
    ROWS_MAX,
    SEQUENCE,
    SHIFT,
    START,
    STEP,
    STEP_DECIMALS,
    TICK,
    TICK_DECIMALS,
    Floats,
    Ints,
)  # fmt: skip
from signals._ledger import Ledger
from signals._open import view
from signals._options import DEFAULTS
from signals._redis import Value
from signals._render import ROOM, profile
from signals._rolling import Rolling
from signals._since import WEEK_NAME, Since
from signals._state import State
from signals._window import Frame, Rows, frame_of, joined
from signals._write import DECIMALS_MAX

NAME = "profile"
SESSION, PREVIOUS = "session", "previous"


class Profiles:
    """Renders profiles. A profile doubles its row until it has at most 400 rows, like a candle."""

    def __init__(
        self, state: State, ledger: Ledger, rolling: Rolling, since: Since, options: Floats = DEFAULTS
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._rolling, self._since = rolling, since
        self._options = options
        self._out = np.empty(ROOM, np.uint8)

    def values(self, slot: int) -> list[Value]:
        """Every profile of one slot."""
        day = self._state.spans.day
        last = self._ledger.newest.get((slot, day))
        found = []
        state = self._state
        if view(slot, day, state.durations, day, state.live, state.parts, state.touched, state.scratch):
            found.append(self._day(slot, SESSION, take(state.scratch, 0)))
        elif last is not None:
            found.append(self._day(slot, SESSION, last))
            last = self._ledger.before(slot, day, last.timestamp)
        if last is not None:
            found.append(self._day(slot, PREVIOUS, last))
        unclosed = self._unclosed(slot)
        for name, window in self._rolling.windows(slot).items():
            begin = self._rolling.begin(slot, window.length)
            rows = window.rows if window.members else None
            found.append(self._window(slot, name, rows, unclosed, begin, begin + window.length))
        until = self._since.until(slot) + time.MINUTE
        for name, its in self._since.sums(slot).items():
            end = its.begin + time.WEEK if name == WEEK_NAME else max(until, its.begin)
            own = [candle for candle in unclosed if its.begin <= candle.timestamp < end]
            found.append(self._window(slot, name, its.rows if len(its.rows.buy) else None, own, its.begin, end))
        return found

    def _day(self, slot: int, name: str, candle: Candle) -> Value:
        return self._value(slot, name, candle.meta, candle.buy, candle.sell, candle.timestamp, candle.timestamp + DAY)

    def _unclosed(self, slot: int) -> list[Candle]:
        """What no closed minute holds yet."""
        state = self._state
        places = [
            (state.parts, state.part(slot, state.spans.minute)),
            (state.live, 2 * slot),
            (state.live, 2 * slot + 1),
        ]
        return [take(candles, n) for candles, n in places if candles.meta[n, START] != EMPTY]

    def _window(self, slot: int, name: str, closed: Rows | None, unclosed: list[Candle], begin: int, end: int) -> Value:
        """A range of its closed minutes and what is not closed yet."""
        frames = [frame_of(candle) for candle in unclosed]
        if closed is not None:
            frames.append(closed.frame)
        rows = closed.converted(joined(frames)) if closed is not None else Rows(joined(frames or [Frame(1, 1)]))
        for candle in unclosed:
            rows.add(candle, 1)
        exchange = int(self._state.exchange_of[slot])
        _, sequence, as_of = self._state.minutes[exchange].tolist()
        told = [(sequence, as_of), tuple(self._state.touched[slot].tolist())]
        told += [(int(candle.meta[SEQUENCE]), int(candle.meta[AS_OF])) for candle in unclosed]
        meta, buy, sell = self._fitted(slot, rows)
        meta[SEQUENCE], meta[AS_OF] = max(s for s, _ in told), max(a for _, a in told)
        return self._value(slot, name, meta, buy, sell, begin, end)

    def _fitted(self, slot: int, rows: Rows) -> tuple[Ints, Ints, Ints]:
        """The rows that have volume and those between, doubled until they are few enough, with their grid."""
        meta = np.zeros(COLUMNS, np.int64)
        state = self._state
        days = state.grid_day[slot]
        grid = state.grid[slot, int(days.argmax())].tolist()
        meta[GRID_COLUMNS] = grid
        used = np.flatnonzero(rows.buy + rows.sell)
        if not len(used):
            return meta, rows.buy[:0], rows.sell[:0]
        first, last = rows.first + int(used[0]), rows.first + int(used[-1])
        shift = 0
        while (last >> shift) - (first >> shift) >= ROWS_MAX:  # ends: every round halves it
            shift += 1
        to = (np.arange(first, last + 1) >> shift) - (first >> shift)
        own = slice(used[0], used[-1] + 1)
        buy, sell = np.zeros(to[-1] + 1, np.int64), np.zeros(to[-1] + 1, np.int64)
        np.add.at(buy, to, rows.buy[own])
        np.add.at(sell, to, rows.sell[own])
        tick = grid[0] * 10 ** (DECIMALS_MAX - grid[1])
        step = grid[2] * 10 ** (DECIMALS_MAX - grid[3])
        if rows.frame.row % tick:  # another tick before today's: rows are written in the unit both fit
            meta[TICK], meta[TICK_DECIMALS], tick = 1, DECIMALS_MAX, 1
        if rows.frame.step != step:
            meta[STEP], meta[STEP_DECIMALS] = rows.frame.step, DECIMALS_MAX
        meta[ROW], meta[SHIFT], meta[FIRST] = rows.frame.row // tick, shift, first >> shift
        return meta, buy, sell

    def _value(self, slot: int, name: str, meta: Ints, buy: Ints, sell: Ints, begin: int, end: int) -> Value:
        exchange, symbol = self._state.symbols[slot]
        size = profile(self._out, 0, meta, buy, sell, len(buy), begin, end, self._options)
        head = f'{{"exchange":"{exchange}","symbol":"{symbol}","range":"{name}",'
        text = head.encode() + self._out[:size].tobytes()
        return Value(key(NAME, exchange, symbol, name).encode(), text, int(meta[SEQUENCE]))
