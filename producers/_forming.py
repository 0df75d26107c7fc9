"""Candles of venues that do not say when one is closed: it is, as soon as a later one of its interval appears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from producers._feeds import Feed


class Candle(NamedTuple):
    """A candle as it stands: ``prices`` are open, high, low, close; ``value`` None where the venue has none."""

    timestamp: int
    prices: tuple[float, float, float, float]
    volume: float
    value: float | None = None
    trades: int | None = None


class Forming:
    """The candles a session saw last. What was told already is remembered by the feed, beyond the connection."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Candle] = {}

    def follow(self, feed: Feed, interval: str, candles: Sequence[Candle]) -> list[Candle]:
        """Take in candles of one frame, in any order; returns those that are closed now and were not told before.

        The history a venue replays on subscribing is told from where an earlier connection left off, no further back.
        """
        if not candles:
            return []
        key = feed.native, interval
        last = self._last.get(key)
        series = {candle.timestamp: candle for candle in ((last,) if last is not None else ())}
        series.update({candle.timestamp: candle for candle in candles})
        newest = max(series)
        told: dict[str, int] = feed.content if isinstance(feed.content, dict) else {}
        feed.content = told
        since = told.setdefault(interval, newest)
        closed = [series[timestamp] for timestamp in sorted(series) if since <= timestamp < newest]
        told[interval] = max(since, newest)
        self._last[key] = series[newest]
        return closed
