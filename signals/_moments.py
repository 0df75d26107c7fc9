"""Sums of price and price² by size, exact: what VWAP and its deviation are made of.

A candle's first moment is the sum of ``d × lots`` and its second that of ``d² × lots``, with ``d`` the tick of a
trade above the day's REFERENCE. Each is two integers, ``high × 2³² + low``; ``low`` may be negative or beyond 2³².
"""

from __future__ import annotations

from typing import NamedTuple

from signals._candle import Candle
from signals._layout import (
    BUY,
    FIRST_HIGH,
    FIRST_LOW,
    REFERENCE,
    SECOND_HIGH,
    SECOND_LOW,
    SELL,
    STEP,
    STEP_DECIMALS,
    TICK,
    TICK_DECIMALS,
    Ints,
)
from signals._write import DECIMALS_MAX

ROOM_BITS = 32


class Moments(NamedTuple):
    """Exact sums in absolute units: size in 1e-18, price in 1e-18."""

    weight: int
    first: int
    second: int

    def plus(self, other: Moments, sign: int = 1) -> Moments:
        """The sum, or with ``sign`` -1 the difference."""
        return Moments(
            self.weight + sign * other.weight, self.first + sign * other.first, self.second + sign * other.second
        )


NOTHING = Moments(0, 0, 0)


def averages(its: Moments) -> tuple[float, float]:
    """The weighted mean and variance of price in quote units, each rounded once; zeros without volume."""
    weight, first, second = its
    if weight <= 0:
        return 0.0, 0.0
    unit = 10**DECIMALS_MAX
    return first / (weight * unit), max(second * weight - first * first, 0) / (weight * weight * unit * unit)


def moments(candle: Candle) -> Moments:
    """Those of one candle."""
    return moments_of(candle.meta.tolist())


def moments_of(meta: list[int]) -> Moments:
    """Those of a candle's meta row."""
    tick = meta[TICK] * 10 ** (DECIMALS_MAX - meta[TICK_DECIMALS])
    step = meta[STEP] * 10 ** (DECIMALS_MAX - meta[STEP_DECIMALS])
    lots, reference = meta[BUY] + meta[SELL], meta[REFERENCE]
    first = (meta[FIRST_HIGH] << ROOM_BITS) + meta[FIRST_LOW]
    second = (meta[SECOND_HIGH] << ROOM_BITS) + meta[SECOND_LOW]
    second += 2 * reference * first + reference * reference * lots
    first += reference * lots
    return Moments(lots * step, first * tick * step, second * tick * tick * step)


def put_moments(meta: Ints, first: int, second: int) -> None:
    """Write a candle's own sums, relative to its REFERENCE."""
    meta[FIRST_HIGH], meta[FIRST_LOW] = first >> ROOM_BITS, first & 0xFFFFFFFF
    meta[SECOND_HIGH], meta[SECOND_LOW] = second >> ROOM_BITS, second & 0xFFFFFFFF
