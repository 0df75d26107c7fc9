"""Stretches of trading, made once per instrument; every minute is some of them, scaled, mirrored and shifted.

A minute is exact arithmetic on its stretches: volume, value, high and low of a year of minutes come from a few
numbers per stretch, and always equal the sums over the trades themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator._noise import Floats, Ints

FILLS_MAX = 32_768
"""Fills held per instrument over all patterns."""
CASCADES = 2
"""The last patterns of a set: forced selling, run after run on one side."""
_DOLLARS = 220.0
"""The median fill."""


@dataclass(frozen=True)
class Patterns:
    """K patterns of G aggregates (one taker order at one price) made of F fills.

    Per aggregate, K×G: ``when`` (0 to 1), ``offset`` (ticks from the stretch's level), ``buys``, ``forced``.
    Per fill, K×F: ``aggregate`` (its number in the pattern), ``steps``.
    Per pattern and mirror image, 2K, image ``2k+1`` being the mirror of ``2k``: the sums ``volume``,
    ``buy_volume``, ``moment`` (offset × steps), ``buy_moment``, and ``high`` ``low`` ``first`` ``last`` offsets.
    """

    when: Floats
    offset: Ints
    buys: NDArray[np.bool_]
    forced: NDArray[np.bool_]
    aggregate: Ints
    steps: Ints
    volume: Ints
    buy_volume: Ints
    moment: Ints
    buy_moment: Ints
    high: Ints
    low: Ints
    first: Ints
    last: Ints


def make(seed: int, fills: int, aggregates: int, ticks: float, step_dollars: float) -> Patterns:
    """Patterns for a price of about ``ticks`` ticks and a quantity step that costs ``step_dollars``."""
    rng = np.random.Generator(np.random.PCG64(seed))
    count = int(np.clip(FILLS_MAX // fills, 8, 64)) + CASCADES
    follows, buys = _orders(rng, count, aggregates)
    offset = _offsets(rng, follows, buys, ticks)
    gaps = rng.exponential(size=(count, aggregates)) * rng.lognormal(0.0, 1.5, (count, aggregates))
    gaps[follows | (rng.random(gaps.shape) < 0.1)] = 0.0
    when = np.cumsum(gaps, axis=1)
    when = when / (when[:, -1:] + rng.exponential(size=(count, 1)) + 1e-9)
    extra = rng.integers(0, aggregates, (count, fills - aggregates)) + np.arange(count)[:, None] * aggregates
    held = 1 + np.bincount(extra.ravel(), minlength=count * aggregates)
    whole = np.repeat(np.arange(count * aggregates, dtype=np.int64), held).reshape(count, fills)
    aggregate = whole - np.arange(count)[:, None] * aggregates
    dollars = _DOLLARS * rng.lognormal(0.0, 1.3, (count, fills))
    dollars[-CASCADES:] *= 5.0
    steps = np.maximum(1, np.rint(dollars / step_dollars)).astype(np.int64)
    forced = _forced(rng, follows)
    return Patterns(when, offset, buys, forced, aggregate, steps, **_sums(offset, buys, aggregate, steps))


def _orders(rng: np.random.Generator, count: int, aggregates: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which aggregates go on with the order before them (a sweep), and which are buys; sides come in runs."""
    shape = (count, aggregates)
    follows = rng.random(shape) < 0.25
    follows[:, 0] = False
    turns = (rng.random(shape) < 0.3) & ~follows
    turns[-CASCADES:] = False
    buys = (np.cumsum(turns, axis=1) + rng.integers(0, 2, (count, 1))) % 2 == 1
    buys[-CASCADES:] = False
    return follows, buys


def _offsets(rng: np.random.Generator, follows: NDArray[np.bool_], buys: NDArray[np.bool_], ticks: float) -> Ints:
    """A walk from the level and back; buys print a tick above it, and a sweep moves on in its own direction."""
    count, aggregates = follows.shape
    moves = rng.normal(0.0, ticks * 0.00012 / np.sqrt(aggregates), (count, aggregates))
    moves[-CASCADES:] -= ticks * 0.0012 / aggregates
    walk = np.cumsum(np.where(follows, 0.0, moves), axis=1)
    walk[:-CASCADES] -= walk[:-CASCADES, -1:] * np.linspace(0.0, 1.0, aggregates)
    swept = rng.integers(1, 2 + int(ticks * 0.000004), (count, aggregates))
    reach = np.cumsum(np.where(follows, swept, 0), axis=1)
    reach -= np.maximum.accumulate(np.where(follows, 0, reach), axis=1)
    # A sweep's walk stays where its order began, so that its steps are its own.
    start = np.maximum.accumulate(np.where(follows, 0, np.arange(aggregates)), axis=1)
    middle = np.rint(np.take_along_axis(walk, start, axis=1)).astype(np.int64)
    limit = 2 + int(ticks * 0.004)
    offsets: Ints = np.clip(middle, -limit, limit) + np.where(buys, 1 + reach, -reach)
    return offsets


def _forced(rng: np.random.Generator, follows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Liquidations: one order in every eighth pattern, most orders of a cascade."""
    count, aggregates = follows.shape
    order = np.cumsum(~follows, axis=1) - 1
    chosen = np.zeros((count, aggregates), dtype=bool)
    chosen[::8] = order[::8] == (rng.random((len(range(0, count, 8)), 1)) * (order[::8, -1:] + 1)).astype(np.int64)
    lucky = rng.random((CASCADES, aggregates)) < 0.6
    chosen[-CASCADES:] = np.take_along_axis(lucky, order[-CASCADES:], axis=1)
    return chosen


def _sums(offset: Ints, buys: NDArray[np.bool_], aggregate: Ints, steps: Ints) -> dict[str, Any]:
    """What a minute needs to know of a pattern, for it and its mirror image."""
    at = np.take_along_axis(offset, aggregate, axis=1)
    bought = np.take_along_axis(buys, aggregate, axis=1)
    volume, moment = steps.sum(axis=1), (at * steps).sum(axis=1)
    buy_volume, buy_moment = (steps * bought).sum(axis=1), (at * steps * bought).sum(axis=1)
    high, low, first, last = offset.max(axis=1), offset.min(axis=1), offset[:, 0], offset[:, -1]

    def both(plain: Ints, mirrored: Ints) -> Ints:
        return np.stack([plain, mirrored], axis=1).ravel()

    return {
        "volume": both(volume, volume),
        "buy_volume": both(buy_volume, volume - buy_volume),
        "moment": both(moment, -moment),
        "buy_moment": both(buy_moment, buy_moment - moment),
        "high": both(high, -low),
        "low": both(low, -high),
        "first": both(first, -first),
        "last": both(last, -last),
    }
