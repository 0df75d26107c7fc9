"""Forced orders: the fills of one side and moment that a liquidation made."""

from __future__ import annotations

from bisect import bisect_right
from itertools import groupby
from typing import NamedTuple

from simulator._tape import MINUTE_MS, Tape


class Forced(NamedTuple):
    """A liquidation. ``sells``: a long was closed. ``bankrupt`` is the price in ticks at which nothing was left."""

    time_ms: int
    sells: bool
    steps: int
    bankrupt: int


def forced(tape: Tape, after_ms: int, until_ms: int) -> list[Forced]:
    """Every liquidation after ``after_ms`` and up to ``until_ms``."""
    orders = []
    for minute in range((after_ms + 1) // MINUTE_MS, until_ms // MINUTE_MS + 1):
        columns = tape.minute(minute)
        first, last = bisect_right(columns.times, after_ms), bisect_right(columns.times, until_ms)
        rows = [row for row in columns.rows[first:last] if row[4]]
        for (time, sells), fills in groupby(rows, key=lambda row: (row[0], row[3])):
            made = list(fills)
            bankrupt = max(1, round(made[-1][1] * (0.986 if sells else 1.014)))
            orders.append(Forced(time, sells, sum(steps for _, _, steps, _, _ in made), bankrupt))
    return orders
