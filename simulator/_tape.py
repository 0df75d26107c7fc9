"""What trades of one instrument: a pure function of seed, exchange, symbol and minute.

Ids are dense: minute ``m`` (since the epoch) holds ids ``(m - START) * fills + 1`` and on, whatever was asked before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator._bounded import Bounded
from simulator._market import MINUTES_A_DAY, Listing, Market
from simulator._noise import Ints, key, scatter, unit
from simulator._patterns import CASCADES, Patterns, make

START = 26_297_280
"""2020-01-01 in minutes since the epoch: the first minute of history."""
MINUTE_MS = 60_000
AGGREGATES_MAX = 50_000
"""A minute has 60,000 milliseconds, and one millisecond holds one aggregate of a price and side."""
OPEN, HIGH, LOW, CLOSE, VOLUME, BUY_VOLUME, VALUE, BUY_VALUE = range(8)
"""Columns of a bar: ticks, steps, and ticks × steps."""
_SCALES = np.array([1] * 128 + [2] * 64 + [3] * 32 + [5] * 20 + [9] * 9 + [20] * 3, dtype=np.int64)


@dataclass(frozen=True)
class Minute:
    """One minute's fills in order of id, as columns; ``start`` holds each aggregate's first fill, and the end."""

    first_id: int
    first_aggregate: int
    time: Ints
    ticks: Ints
    steps: Ints
    maker: NDArray[np.bool_]
    forced: NDArray[np.bool_]
    start: Ints

    @cached_property
    def rows(self) -> list[tuple[int, int, int, bool, bool]]:
        """Time in ms, ticks, steps, whether the buyer was the maker, whether it was forced; one tuple a fill."""
        columns = (self.time, self.ticks, self.steps, self.maker, self.forced)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @cached_property
    def times(self) -> list[int]:
        """Every fill's time in ms, ascending."""
        return list(self.time.tolist())

    @cached_property
    def starts(self) -> list[int]:
        """Each aggregate's first fill, and behind them the number of fills."""
        return list(self.start.tolist())

    @cached_property
    def sums(self) -> list[int]:
        """Each aggregate's steps."""
        return list(np.add.reduceat(self.steps, self.start[:-1]).tolist())


@dataclass(frozen=True)
class _Plan:
    """Minutes × stretches: which pattern image, how much larger, at which tick."""

    image: Ints
    scale: Ints
    level: Ints


class Store:
    """Bars by exchange, symbol and day, bounded over all tapes: 92 kB a day by the minute, 1.5 kB by the hour."""

    def __init__(self) -> None:
        self.bars: Bounded[tuple[str, str, int], Ints] = Bounded(192)
        self.hours: Bounded[tuple[str, str, int], Ints] = Bounded(8_192)


_INT64 = 2.0**63


class Tape:
    """One instrument's trades. ``fills`` and ``aggregates`` are the numbers of each in every minute."""

    def __init__(self, market: Market, listing: Listing, store: Store) -> None:
        self.market, self.listing = market, listing
        a_minute = market.rate * listing.coin.share * 60
        self.stretches = next((count for count in (16, 8, 4, 2) if a_minute / count >= 6), 1)
        per_stretch = max(1, round(a_minute / self.stretches))
        self.fills = per_stretch * self.stretches
        self.aggregates = min(-(-per_stretch * 7 // 10), AGGREGATES_MAX // self.stretches) * self.stretches
        self._key = key(market.seed, listing.exchange, listing.symbol)
        self._basis = 1.0 + ((self._key >> 20) % 1_000 - 500) * 1e-6
        self._store = store
        self._minutes: Bounded[int, Minute] = Bounded(8)

    @cached_property
    def _patterns(self) -> Patterns:
        listing = self.listing
        counts = self.fills // self.stretches, self.aggregates // self.stretches
        return make(self._key, *counts, listing.coin.price / listing.tick_size, listing.step_dollars)

    def _plan(self, day: int, first: int, count: int) -> _Plan:
        """How ``count`` minutes of a day, from its minute ``first`` on, are put together."""
        path = self.market.path(self.listing.coin, day)[first : first + count + 1] * (
            self._basis / self.listing.tick_size
        )
        minutes = np.arange(day * MINUTES_A_DAY + first, day * MINUTES_A_DAY + first + count, dtype=np.int64)
        places = minutes[:, None] * self.stretches + np.arange(self.stretches)
        bits = scatter(self._key, places)
        patterns = len(self._patterns.when) - CASCADES
        image = (bits & np.uint64(0xFFFF)).astype(np.int64) % (2 * patterns)
        scale = _SCALES[((bits >> np.uint64(16)) & np.uint64(0xFF)).astype(np.int64)]
        part = (np.arange(self.stretches) + 0.5) / self.stretches
        noise = (unit(bits << np.uint64(24)) - 0.5) * 0.0008 * np.sqrt(part * (1 - part)) + 1.0
        level = (path[:-1, None] + (path[1:] - path[:-1])[:, None] * part) * noise
        mood = scatter(self._key ^ 1, minutes)
        rare = (mood & np.uint64(63)) == 0
        if rare.any():  # a cascade: forced orders on one side through the middle of the minute, and the way back
            middle = rare[:, None] & (np.abs(part - 0.5) <= 0.26)
            upward = ((mood >> np.uint64(6)) & np.uint64(1)).astype(np.int64)[:, None]
            image = np.where(middle, 2 * (patterns + np.arange(self.stretches) % CASCADES) + upward, image)
            level = np.where(rare[:, None], level * (1 + (2 * upward - 1) * 0.004 * part * (1 - part)), level)
        # As long as a tick is coarse a pattern could reach below zero; it never gets nearer than one tick.
        return _Plan(image, scale, np.maximum(np.rint(level).astype(np.int64), 1 - self._patterns.low[image]))

    def bars(self, day: int) -> Ints:
        """1,440 bars of a day (days since the epoch), 1440×8: what the trades of each minute sum up to."""
        place = (self.listing.exchange, self.listing.symbol, day)
        known = self._store.bars.get(place)
        if known is not None:
            return known
        plan, pattern = self._plan(day, 0, MINUTES_A_DAY), self._patterns
        image, scale, level = plan.image, plan.scale, plan.level
        bars = np.empty((MINUTES_A_DAY, 8), dtype=np.int64)
        bars[:, OPEN] = level[:, 0] + pattern.first[image[:, 0]]
        bars[:, HIGH] = (level + pattern.high[image]).max(axis=1)
        bars[:, LOW] = (level + pattern.low[image]).min(axis=1)
        bars[:, CLOSE] = level[:, -1] + pattern.last[image[:, -1]]
        bars[:, VOLUME] = (scale * pattern.volume[image]).sum(axis=1)
        bars[:, BUY_VOLUME] = (scale * pattern.buy_volume[image]).sum(axis=1)
        bars[:, VALUE] = (scale * (level * pattern.volume[image] + pattern.moment[image])).sum(axis=1)
        bars[:, BUY_VALUE] = (scale * (level * pattern.buy_volume[image] + pattern.buy_moment[image])).sum(axis=1)
        return self._store.bars.put(place, bars)

    def hours(self, day: int) -> Ints:
        """24 bars of a day, 24×8."""
        place = (self.listing.exchange, self.listing.symbol, day)
        known = self._store.hours.get(place)
        if known is not None:
            return known
        bars = self.bars(day).reshape(24, 60, 8)
        hours = bars.sum(axis=1)
        hours[:, OPEN], hours[:, CLOSE] = bars[:, 0, OPEN], bars[:, -1, CLOSE]
        hours[:, HIGH], hours[:, LOW] = bars[:, :, HIGH].max(axis=1), bars[:, :, LOW].min(axis=1)
        if bars[:, :, VALUE].sum(axis=1, dtype=np.float64).max() >= _INT64:  # many small steps: without a limit then
            hours = hours.astype(object)
            for column in (VALUE, BUY_VALUE):
                hours[:, column] = [sum(hour) for hour in bars[:, :, column].tolist()]
        return self._store.hours.put(place, hours)

    def minute(self, minute: int) -> Minute:
        """Every fill of one minute (since the epoch; from START on)."""
        known = self._minutes.get(minute)
        return known if known is not None else self._minutes.put(minute, self._realise(minute))

    def _realise(self, minute: int) -> Minute:
        plan, pattern = self._plan(*divmod(minute, MINUTES_A_DAY), 1), self._patterns
        level, scale = plan.level[0], plan.scale[0]
        which, mirrored = plan.image[0] >> 1, (plan.image[0] & 1).astype(bool)
        sign = np.where(mirrored, -1, 1)
        ticks = (level[:, None] + sign[:, None] * pattern.offset[which]).ravel()
        buys = (pattern.buys[which] ^ mirrored[:, None]).ravel()
        per = self.aggregates // self.stretches
        aggregate = (pattern.aggregate[which] + np.arange(self.stretches)[:, None] * per).ravel()
        time = self._times(minute, pattern, which, ticks, buys)
        start = np.searchsorted(aggregate, np.arange(self.aggregates + 1))
        return Minute(
            first_id=(minute - START) * self.fills + 1,
            first_aggregate=(minute - START) * self.aggregates + 1,
            time=time[aggregate],
            ticks=ticks[aggregate],
            steps=(pattern.steps[which] * scale[:, None]).ravel(),
            maker=~buys[aggregate],
            forced=pattern.forced[which].ravel()[aggregate],
            start=start,
        )

    def _times(self, minute: int, pattern: Patterns, which: Ints, ticks: Ints, buys: NDArray[np.bool_]) -> Ints:
        """Ascending ms; two aggregates of one price and side never share one, or they would be one aggregate."""
        places = minute * self.stretches + np.arange(self.stretches, dtype=np.int64)
        weights = 0.2 + unit(scatter(self._key ^ 2, places)) ** 2
        ends = np.cumsum(weights) / weights.sum()
        begins = ends - weights / weights.sum()
        same = np.zeros(self.aggregates, dtype=np.int64)
        same[1:] = (ticks[1:] == ticks[:-1]) & (buys[1:] == buys[:-1])
        pushed = np.cumsum(same)
        room = MINUTE_MS - 1 - int(pushed[-1])
        plain = ((begins[:, None] + pattern.when[which] * (ends - begins)[:, None]) * room).astype(np.int64).ravel()
        return minute * MINUTE_MS + pushed + np.maximum.accumulate(plain - pushed)

    def minutes(self, first: int, last: int) -> Iterator[tuple[int, Minute]]:
        """The minutes from ``first`` to ``last``, both included."""
        for minute in range(max(first, START), last + 1):
            yield minute, self.minute(minute)
