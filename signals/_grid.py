"""The grid of a symbol for a UTC day: tick, quantity step and row, pinned in the instrument registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.instruments import STEP_DEFAULT, Instrument, automatic_row, inferred_tick
from signals._layout import DAY, Floats, Ints
from signals._write import DECIMALS_MAX, parts

ROW_MAX = 1_000_000_000
MEASURED_MAX = 1e15
DISTANT = 2**62
QUANTITY_DIGITS_MAX = 12
"""Digits a first quantity may have in steps where the instrument names no step: a day's sum still fits 63 bits."""


class Grid(NamedTuple):
    """``tick`` = tick_number / 10**tick_decimals quote units, the step likewise in base units; ``row`` in ticks."""

    tick_number: int
    tick_decimals: int
    step_number: int
    step_decimals: int
    row: int
    reference: int = 0
    """Tick of the day's first price: what moments are measured from."""

    @property
    def tick(self) -> float:
        """In quote units."""
        return float(self.tick_number / 10**self.tick_decimals)

    @property
    def step(self) -> float:
        """In base units."""
        return float(self.step_number / 10**self.step_decimals)

    @property
    def scale(self) -> tuple[float, float, float]:
        """(ticks per quote unit, steps per base unit, ticks per row)."""
        return (
            10**self.tick_decimals / self.tick_number,
            10**self.step_decimals / self.step_number,
            float(self.row),
        )


def _decimal(number: float) -> tuple[int, int]:
    try:
        numerator, places = parts(number)
    except ValueError:
        return 1, DECIMALS_MAX
    return max(numerator, 1), places


def _step(instrument: Instrument | None, quantity: float) -> tuple[int, int]:
    if instrument is not None and instrument.quantity_step:
        return _decimal(instrument.quantity_step)
    number, places = _decimal(STEP_DEFAULT)
    digits = math.ceil(math.log10(max(quantity / STEP_DEFAULT, 1.0)))
    return number, max(places - max(digits - QUANTITY_DIGITS_MAX, 0), 0)


def _valid(versions: list[Instrument], at: int) -> Instrument | None:
    """The version in force at ``at`` µs; of several from the same time the last written."""
    return max((v for v in reversed(versions) if v.valid_from <= at), key=lambda v: v.valid_from, default=None)


class Grids:
    """Chooses the grid of (exchange, symbol, day): the same for ever once chosen.

    ``row`` is ``[signals] row``. ``pin(instrument)`` is told each row size that is new for its day, to be
    written to the registry.
    """

    def __init__(self, row: str | float | Mapping[str, float], pin: Callable[[Instrument], None]) -> None:
        self._row = row
        self._pin = pin
        self._versions: dict[tuple[str, str], list[Instrument]] = {}

    def learn(self, versions: list[Instrument]) -> None:
        """Take in the registry: every version of every instrument, oldest first."""
        known: dict[tuple[str, str], list[Instrument]] = {}
        for instrument in versions:
            known.setdefault((instrument.exchange, instrument.symbol), []).append(instrument)
        self._versions.update(known)

    def knows(self, exchange: str, symbol: str) -> bool:
        """Whether the registry has the instrument."""
        return (exchange, symbol) in self._versions

    def choose(self, exchange: str, symbol: str, day: int, price: float, quantity: float) -> Grid:
        """The grid of UTC day number ``day``, given the day's first trade."""
        versions = self._versions.get((exchange, symbol), [])
        start = day * DAY
        instrument = _valid(versions, start) or _valid(versions, DISTANT)
        tick = (instrument.tick_size if instrument else None) or inferred_tick(price)
        number, places = _decimal(tick)
        row = self._row_size(versions, instrument, start, self._configured(symbol) or automatic_row(price, tick))
        ticks = min(max(round(row * 10**places / number), 1), ROW_MAX)
        first = to_grid(np.array([min(price, MEASURED_MAX)]), 10**places / number)
        return Grid(number, places, *_step(instrument, quantity), ticks, int(min(first[0], DISTANT)))

    def _row_size(self, versions: list[Instrument], instrument: Instrument | None, start: int, row: float) -> float:
        """The row pinned for the day that begins at ``start``; otherwise ``row``, pinned from then on."""
        pinned = [v for v in versions if v.row]
        now = _valid(pinned, start)
        if now is not None and now.valid_from == start and now.row:
            return now.row
        later = any(v.valid_from > start and v.valid_from % DAY == 0 for v in pinned)
        if instrument is None or later or (now is not None and now.row == row):
            return row
        version = msgspec.structs.replace(
            _valid(versions, DISTANT) or instrument, row=row, valid_from=start,
            tick_size=instrument.tick_size, quantity_step=instrument.quantity_step,
        )  # fmt: skip
        versions.append(version)
        self._pin(version)
        return row

    def _configured(self, symbol: str) -> float | None:
        if isinstance(self._row, Mapping):
            return self._row.get(symbol)
        return None if isinstance(self._row, str) else self._row


def to_grid(values: Floats, scale: float) -> Ints:
    """Prices to ticks: the nearest where it is within 1e-6, else the tick below. ``scale`` is 1 / tick."""
    exact = values * scale
    nearest = np.floor(exact + 0.5)
    near = np.abs(exact - nearest) < np.maximum(1e-6, exact * 4e-15)
    return np.where(near, nearest, np.floor(exact)).astype(np.int64)


def to_lots(values: Floats, scale: float) -> Ints:
    """Quantities to the nearest whole steps. ``scale`` is 1 / step."""
    return np.floor(values * scale + 0.5).astype(np.int64)
