"""The volume profile of any range of one symbol, from closed footprints: Redis first, the table for what is older.

``profile`` reads, ``combined`` is the pure part. A range is whole minutes: its begin is rounded down, its end up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from redis.asyncio import Redis

from schemas import time
from schemas.names import key
from schemas.settings import SignalsSettings
from signals._shape import Band, shape
from signals._tables import Tables
from signals.nodes import HIGH, LOW, nodes
from signals.value_area import value_area

FOOTPRINT = "footprint"
_DEFAULTS = SignalsSettings()
Span = tuple[int, int]


class _Candle(msgspec.Struct):
    """What a profile needs of a footprint candle."""

    timestamp: int
    row: float
    prices: list[float]
    buys: list[float]
    sells: list[float]

    def band(self) -> Band:
        return Band(self.row, np.array(self.prices), np.array(self.buys), np.array(self.sells))


_decode = msgspec.json.Decoder(_Candle).decode


class RangeProfile(msgspec.Struct):
    """Volume by price over [begin, end) µs. Prices are lower edges in quote units, sizes base units."""

    exchange: str
    symbol: str
    begin: int
    end: int
    row: float
    prices: list[float]
    buys: list[float]
    sells: list[float]
    deltas: list[float]
    buy: float
    sell: float
    delta: float
    poc: float | None
    vah: float | None
    val: float | None
    hvn: list[float]
    lvn: list[float]


class Series(NamedTuple):
    """What Redis holds of one interval: closed candles from ``since`` to ``until`` are all there."""

    length: int
    since: int
    until: int


def combined(
    exchange: str, symbol: str, begin: int, end: int, bands: Iterable[Band], config: SignalsSettings = _DEFAULTS,
    row: float | None = None,
) -> RangeProfile:  # fmt: skip
    """One profile of many bands. Raises ValueError where ``row`` is no multiple of theirs."""
    its, made = config.profile, shape(list(bands), row)
    if made is None:
        return RangeProfile(
            exchange, symbol, begin, end, row or 0.0, [], [], [], [], 0.0, 0.0, 0.0, None, None, None, [], []
        )
    count = len(made.buy)
    marks = np.zeros(count, np.uint8)
    nodes(made.buy, made.sell, count, marks, its.nodes, its.smooth, its.prominence)
    control, low, high = value_area(made.buy, made.sell, count, its.value_area, its.rows)
    unit = 10**made.places
    bought, sold = int(made.buy.sum()), int(made.sell.sum())
    return RangeProfile(
        exchange, symbol, begin, end, float(made.row),
        [made.price(i) for i in range(count)],
        made.sizes(made.buy), made.sizes(made.sell), made.sizes(made.buy - made.sell),
        bought / unit, sold / unit, (bought - sold) / unit,
        made.price(control) if control >= 0 else None, made.price(high) if control >= 0 else None,
        made.price(low) if control >= 0 else None,
        [made.price(i) for i in np.flatnonzero(marks == HIGH).tolist()],
        [made.price(i) for i in np.flatnonzero(marks == LOW).tolist()],
    )  # fmt: skip


def plan(begin: int, end: int, series: list[Series]) -> tuple[list[tuple[int, Span]], list[Span]]:
    """Which spans to read of which interval's candles, the longest that fit first, and what is left over."""
    taken: list[tuple[int, Span]] = []
    left: list[Span] = [(begin, end)]
    for length, since, until in sorted(series, reverse=True):
        rest: list[Span] = []
        for low, high in left:
            first = max(-(-low // length) * length, since)
            last = min(high // length * length, until)
            if first >= last:
                rest.append((low, high))
                continue
            taken.append((length, (first, last)))
            rest += [span for span in ((low, first), (last, high)) if span[0] < span[1]]
        left = rest
    return taken, left


async def profile(
    redis: Redis, tables: Tables | None, exchange: str, symbol: str, begin: int, end: int,
    config: SignalsSettings = _DEFAULTS, row: float | None = None,
) -> RangeProfile:  # fmt: skip
    """The profile of [begin, end) µs, the open minute included where the range reaches it.

    Without ``tables`` what Redis does not hold is left out. Raises TablesAway, RedisError, ValueError.
    """
    begin, end = begin // time.MINUTE * time.MINUTE, -(-end // time.MINUTE) * time.MINUTE
    names = {time.duration(name): name for name in config.intervals}
    names = {length: name for length, name in names.items() if length >= time.MINUTE}
    series = await _series(redis, exchange, symbol, names)
    taken, left = plan(begin, end, series)
    bands: list[Band] = []
    async with redis.pipeline(transaction=False) as pipe:
        for length, (first, last) in taken:
            pipe.zrangebyscore(key(FOOTPRINT, exchange, symbol, names[length], "closed"), first, last - 1)
        pipe.get(key(FOOTPRINT, exchange, symbol, names.get(time.MINUTE, "")))
        *found, opened = await pipe.execute()
    for members in found:
        bands += [_decode(member).band() for member in members]
    newest = max((one.until for one in series if one.length == time.MINUTE), default=0)
    if opened:
        candle = _decode(opened)
        if max(begin, newest) <= candle.timestamp < end:
            bands.append(candle.band())
    if tables is not None:
        for low, high in left:
            if not newest or low < newest:
                bands += await _stored(tables, exchange, symbol, low, min(high, newest) if newest else high)
    return combined(exchange, symbol, begin, end, bands, config, row)


async def _series(redis: Redis, exchange: str, symbol: str, names: dict[int, str]) -> list[Series]:
    """What Redis holds of each interval."""
    async with redis.pipeline(transaction=False) as pipe:
        for name in names.values():
            of = key(FOOTPRINT, exchange, symbol, name, "closed")
            pipe.zrange(of, 0, 0, withscores=True)
            pipe.zrange(of, -1, -1, withscores=True)
        ends = await pipe.execute()
    found = []
    for n, length in enumerate(names):
        oldest, newest = ends[2 * n], ends[2 * n + 1]
        if oldest:
            found.append(Series(length, int(oldest[0][1]), int(newest[0][1]) + length))
    return found


async def _stored(tables: Tables, exchange: str, symbol: str, begin: int, end: int) -> list[Band]:
    """Bands of the table's minutes in [begin, end), one for each row width."""
    rows = await tables.fetch("range_rows", exchange, symbol, begin, end)
    widths = sorted({width for width, *_ in rows})
    parts = [(width, np.array([each[1:] for each in rows if each[0] == width])) for width in widths]
    return [Band(width, part[:, 0], part[:, 1], part[:, 2]) for width, part in parts]
