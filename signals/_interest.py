"""Open interest against price and delta: bars, the four quadrants, and where the change was traded. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.candles import FootprintCandle
from schemas.events import OpenInterest
from signals._heat import bucket

_QUADRANTS = {
    (True, True): "new_longs", (False, True): "new_shorts",
    (False, False): "long_covering", (True, False): "short_covering",
}  # fmt: skip


class Minute(NamedTuple):
    """What is kept of a closed one-minute footprint."""

    timestamp: int
    close: float
    delta: float
    row: float
    rows: tuple[tuple[float, float], ...]
    """Lower edge and volume, where there is any."""


class Bar(NamedTuple):
    """One interval: the last open interest in it, and changes against the bar before; null where not known."""

    timestamp: int
    open_interest: float
    delta: float | None
    price: float | None
    price_delta: float | None
    volume_delta: float | None
    quadrant: str | None
    quadrant_volume: str | None


def minute(candle: FootprintCandle) -> Minute:
    """A candle without what is not needed."""
    volumes = [buy + sell for buy, sell in zip(candle.buys, candle.sells, strict=True)]
    rows = tuple((price, volume) for price, volume in zip(candle.prices, volumes, strict=True) if volume > 0)
    return Minute(candle.timestamp, candle.close, candle.delta, candle.row, rows)


def quadrant(change: float | None, interest: float | None) -> str | None:
    """Which of the four; null where one of the two did not move or is not known."""
    if not change or not interest:
        return None
    return _QUADRANTS[change > 0, interest > 0]


def bars(samples: Iterable[OpenInterest], minutes: Iterable[Minute], length: int) -> list[Bar]:
    """A bar for each slot of ``length`` µs with a sample; ``samples`` and ``minutes`` oldest first."""
    by_slot: dict[int, list[Minute]] = {}
    for one in minutes:
        by_slot.setdefault(one.timestamp - one.timestamp % length, []).append(one)
    found: list[Bar] = []
    interest = price = None
    for sample in samples:
        at = sample.timestamp - sample.timestamp % length
        inside = by_slot.get(at, [])
        close = inside[-1].close if inside else None
        delta = None if interest is None else sample.open_interest - interest
        change = None if close is None or price is None else close - price
        pressure = math.fsum(one.delta for one in inside) if inside else None
        found.append(
            Bar(
                at, sample.open_interest, delta, close, change, pressure,
                quadrant(change, delta), quadrant(pressure, delta),
            )
        )  # fmt: skip
        interest, price = sample.open_interest, close if close is not None else price
    return found


def interest_profile(found: Sequence[Bar], minutes: Iterable[Minute], length: int) -> dict[str, Any]:
    """Each bar's change of open interest, spread over the rows it was traded in, in proportion to their volume."""
    kept = list(minutes)
    row = max((one.row for one in kept), default=0.0)
    volumes: dict[int, dict[int, float]] = {}
    for one in kept:
        at = volumes.setdefault(one.timestamp - one.timestamp % length, {})
        for price, volume in one.rows:
            place = bucket(price, row)
            at[place] = at.get(place, 0.0) + volume
    sums: dict[int, float] = {}
    for bar in found:
        rows = volumes.get(bar.timestamp)
        if bar.delta and rows:
            total = math.fsum(rows.values())
            for place, volume in rows.items():
                sums[place] = sums.get(place, 0.0) + bar.delta * volume / total
    places = sorted(sums)
    return {
        "row": row or None,
        "prices": [round(place * row, 12) for place in places],
        "deltas": [sums[place] for place in places],
    }
