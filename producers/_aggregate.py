"""Candles of a length that an exchange does not have, made of shorter ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import fsum

from schemas import time
from schemas.events import Kline


def base_of(interval: str, offered: Sequence[str], rows_max: int) -> str | None:
    """The longest of the ``offered`` intervals that ``interval`` can be made of, a page of ``rows_max`` at a time."""
    length = time.duration(interval)
    fitting = [word for word in offered if length % (own := time.duration(word)) == 0 and own * rows_max >= length]
    return max(fitting, key=time.duration, default=None)


def aggregate(candles: Iterable[Kline], interval: str) -> list[Kline]:
    """``candles`` of one symbol and shorter interval, oldest first, as those of ``interval``.

    A slot without any candle had no trade and gives none. The number of trades is known only where all parts know it.
    """
    length = time.duration(interval)
    slots = groupby(candles, key=lambda candle: time.floor(candle.timestamp, length))
    return [_joined(slot, list(parts), interval) for slot, parts in slots]


def _joined(slot: int, parts: list[Kline], interval: str) -> Kline:
    first, last = parts[0], parts[-1]
    counts = [part.trades for part in parts if part.trades is not None]
    return Kline(
        first.exchange, first.symbol, slot, last.received, interval,
        first.open, max(part.high for part in parts), min(part.low for part in parts), last.close,
        fsum(part.volume for part in parts), fsum(part.value for part in parts),
        sum(counts) if len(counts) == len(parts) else None, "rest", aggregated_from=first.interval,
    )  # fmt: skip
