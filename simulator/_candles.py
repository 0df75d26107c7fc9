"""Candles of any interval and the last trade at a moment, from bars and, inside the current minute, trades."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from simulator._market import MINUTES_A_DAY
from simulator._noise import Ints
from simulator._tape import (
    BUY_VALUE,
    BUY_VOLUME,
    CLOSE,
    HIGH,
    LOW,
    MINUTE_MS,
    OPEN,
    START,
    VALUE,
    VOLUME,
    Tape,
)  # fmt: skip

DAY_MS = MINUTES_A_DAY * MINUTE_MS
HOUR_MS = 60 * MINUTE_MS
START_MS = START * MINUTE_MS
INTERVALS = {
    "1s": 1_000, "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS, "1h": HOUR_MS, "2h": 2 * HOUR_MS, "4h": 4 * HOUR_MS, "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS, "12h": 12 * HOUR_MS, "1d": DAY_MS, "3d": 3 * DAY_MS, "1w": 7 * DAY_MS, "1M": 0,
}  # fmt: skip
"""Length in ms; a calendar month has none."""
_MONDAY_MS = 4 * DAY_MS  # the epoch was a Thursday


class Candle(NamedTuple):
    """Times in ms, ``close_ms`` exclusive; prices in ticks, volumes in steps, values in ticks × steps."""

    open_ms: int
    close_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    buy_volume: int
    value: int
    buy_value: int
    first_id: int
    last_id: int

    @property
    def trades(self) -> int:
        """Fills."""
        return self.last_id - self.first_id + 1


def floor(interval: str, time_ms: int) -> int:
    """The open time of the candle that holds ``time_ms``. Weeks begin on Monday, all in UTC."""
    if interval == "1M":
        day = datetime.fromtimestamp(time_ms // 1_000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1_000
    length, shift = INTERVALS[interval], _MONDAY_MS if interval == "1w" else 0
    return (time_ms - shift) // length * length + shift


def following(interval: str, open_ms: int) -> int:
    """The open time of the next candle."""
    return floor(interval, open_ms + 32 * DAY_MS) if interval == "1M" else open_ms + INTERVALS[interval]


def preceding(interval: str, open_ms: int) -> int:
    """The open time of the candle before."""
    return floor(interval, open_ms - 1)


def candle(tape: Tape, open_ms: int, close_ms: int, until_ms: int) -> Candle | None:
    """What traded from ``open_ms`` to before ``close_ms``, as far as it is known at ``until_ms`` (inclusive).

    Without trades it is flat at the last price; before the first trade, and in the future, there is none.
    """
    end_ms = min(close_ms, until_ms + 1)
    first_minute, head = divmod(max(open_ms, START_MS), MINUTE_MS)
    last_minute, tail = divmod(end_ms, MINUTE_MS)
    rows = []
    if head:
        rows.append(_part(tape, first_minute, open_ms, end_ms))
        first_minute += 1
    if first_minute < last_minute:
        rows.append(_whole(tape, first_minute, last_minute))
    if tail and last_minute >= first_minute:
        rows.append(_part(tape, last_minute, open_ms, end_ms))
    present = np.concatenate([row for row in rows if row is not None] or [np.empty((0, 8), dtype=np.int64)])
    first, last = id_at(tape, open_ms - 1) + 1, id_at(tape, end_ms - 1)
    if len(present):
        return Candle._make((open_ms, close_ms, *_fold(present), first, last))
    if last == 0 or open_ms > until_ms:
        return None
    flat = last_trade(tape, end_ms - 1)[1]
    return Candle(open_ms, close_ms, flat, flat, flat, flat, 0, 0, 0, 0, first, last)


async def candles(
    tape: Tape, interval: str, opens: list[int], until_ms: int, breathe: Callable[[], Awaitable[None]]
) -> list[Candle]:
    """Candles that open at ``opens`` (ascending). ``breathe`` is awaited between days, so that others are served."""
    found = []
    touched = -1
    for open_ms in opens:
        close_ms = following(interval, open_ms)
        for day in range(max(touched + 1, open_ms // DAY_MS), (close_ms - 1) // DAY_MS + 1):
            if day >= START // MINUTES_A_DAY:
                tape.hours(day)
                await breathe()
            touched = day
        made = candle(tape, open_ms, close_ms, until_ms)
        if made is not None:
            found.append(made)
    return found


def id_at(tape: Tape, time_ms: int) -> int:
    """The id of the last fill at or before ``time_ms`` (0 before the first)."""
    minute = time_ms // MINUTE_MS
    before = (minute - START) * tape.fills
    if minute < START:
        return 0
    if time_ms % MINUTE_MS == MINUTE_MS - 1:
        return before + tape.fills
    return before + bisect_right(tape.minute(minute).times, time_ms)


def aggregate_at(tape: Tape, time_ms: int) -> int:
    """The id of the last aggregate at or before ``time_ms`` (0 before the first)."""
    minute = time_ms // MINUTE_MS
    if minute < START:
        return 0
    columns = tape.minute(minute)
    fills = bisect_right(columns.times, time_ms)
    return (minute - START) * tape.aggregates + bisect_right(columns.starts, fills) - 1


def last_trade(tape: Tape, time_ms: int) -> tuple[int, int, int, bool]:
    """Id, ticks, time in ms and whether the buyer was the maker, of the last fill at or before ``time_ms``."""
    minute = time_ms // MINUTE_MS
    columns = tape.minute(minute)
    place = bisect_right(columns.times, time_ms)
    if place == 0:
        columns = tape.minute(minute - 1)
        place = len(columns.rows)
    time, ticks, _, maker, _ = columns.rows[place - 1]
    return columns.first_id + place - 1, ticks, time, maker


def _part(tape: Tape, minute: int, open_ms: int, end_ms: int) -> Ints | None:
    """The bar (1×8) of the fills of one minute inside the bounds, or None where there are none."""
    columns = tape.minute(minute)
    low, high = np.searchsorted(columns.time, (open_ms, end_ms))
    if low == high:
        return None
    ticks, steps = columns.ticks[low:high], columns.steps[low:high]
    value, buys = ticks * steps, ~columns.maker[low:high]
    sums = (steps.sum(), steps[buys].sum(), value.sum(), value[buys].sum())
    return np.array([[ticks[0], ticks.max(), ticks.min(), ticks[-1], *sums]], dtype=np.int64)


def _whole(tape: Tape, first: int, end: int) -> Ints:
    """Bars that sum up the minutes from ``first`` to before ``end``: by the hour where hours are whole."""
    rows = []
    while first < end:
        day, place = divmod(first, MINUTES_A_DAY)
        stop = min(end - day * MINUTES_A_DAY, MINUTES_A_DAY)
        if place % 60 == 0 and stop - place >= 60:
            stop = stop // 60 * 60
            rows.append(tape.hours(day)[place // 60 : stop // 60])
        else:
            stop = min(stop, (place // 60 + 1) * 60)
            rows.append(tape.bars(day)[place:stop])
        first = day * MINUTES_A_DAY + stop
    return np.concatenate(rows)


def _fold(rows: Ints) -> tuple[int, ...]:
    prices = (rows[0, OPEN], rows[:, HIGH].max(), rows[:, LOW].min(), rows[-1, CLOSE])
    # Without a limit: a day's value in the smallest units does not fit 64 bits.
    sums = (sum(rows[:, column].tolist()) for column in (VOLUME, BUY_VOLUME, VALUE, BUY_VALUE))
    return tuple(int(v) for v in (*prices, *sums))
