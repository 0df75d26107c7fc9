"""What an hour of a symbol's trades amounts to: what there should be by ids and by the exchange's candles, and is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from schemas.time import HOUR

EPOCH = 1_000_000
"""A number so far below the last one begins a new numbering."""
VOLUME_TOLERANCE = 1e-6
"""Sums of floats, and exchanges that round their candles, agree no better than this."""
Verdict = Literal["complete", "quiet", "missing", "surplus", "unknown"]


class Completeness(msgspec.Struct):
    """A row of ``completeness``: the hour (or the part of it that is over) of a symbol.

    ``expected``, ``present`` and ``missing`` count ids where the exchange numbers its trades without holes, else
    executions where its candles count them; ``expected`` is None where neither does. ``percent`` is None where nothing
    is known of what there should be, 100 where the exchange says that nothing traded.
    """

    exchange: str
    symbol: str
    timestamp: int
    updated: int
    present: int
    expected: int | None = None
    missing: int | None = None
    nonexistent: int = 0
    unfillable: int = 0
    percent: float | None = None
    verdict: Verdict = "unknown"
    evidence: str = "none"
    """``ids``, ``counts``, ``volume``, joined by ``+``: the detectors that had something to compare with."""
    candles: int = 0
    candle_trades: int | None = None
    fills: int | None = None
    candle_volume: float | None = None
    volume: float | None = None
    channel: str = "trades"
    slot: int = HOUR


class Ids(NamedTuple):
    """Trades of an hour, and the least and greatest of their numbers (None: no numbers)."""

    present: int
    first: int | None = None
    last: int | None = None


class Told(NamedTuple):
    """What an exchange's candles of an hour say, and what the table has in their slots.

    ``counted`` of the ``candles`` count executions: ``trades``, against ``fills`` of ours.
    """

    candles: int
    counted: int
    trades: int
    fills: int
    candle_volume: float
    volume: float


class Settled(NamedTuple):
    """Ids of gaps that begin in an hour: proven never to have existed, and not to be had any more."""

    nonexistent: int = 0
    unfillable: int = 0


class Count(NamedTuple):
    """Ids there should be (None: more than none, nobody knows how many) and are."""

    expected: int | None
    present: int


def continuity(hours: Sequence[int], held: Mapping[int, Ids], before: int | None) -> dict[int, Count]:
    """By hour, ids there should be since the last id of the hour before. ``before`` is the last id before ``hours``.

    Ids missing between two hours with trades count in the first empty hour between them, else in the later one. Hours
    behind the last trade are left out: nothing shows what they should hold.
    """
    counts: dict[int, Count] = {}
    last, empty = before, list[int]()
    for hour in hours:
        ids = held.get(hour)
        if ids is None or ids.first is None or ids.last is None:
            empty += [hour] if last is not None else []
            continue
        if last is None or ids.last < last - EPOCH:
            counts[hour] = Count(ids.last - ids.first + 1, ids.present)
        elif empty:
            jump = max(ids.first - last - 1, 0)
            counts |= {each: Count(None if jump else 0, 0) for each in empty}
            counts[empty[0]] = Count(jump, 0)
            counts[hour] = Count(ids.last - max(last, ids.first - 1), ids.present)
        else:
            counts[hour] = Count(max(ids.last - last, 0), ids.present)
        last = ids.last if last is None or ids.last < last - EPOCH else max(last, ids.last)
        empty = []
    return _settled_edges(counts)


def _settled_edges(counts: dict[int, Count]) -> dict[int, Count]:
    """Numbers are not quite in order of time: what one hour has too many of, the hour before lacks."""
    for hour in sorted(counts)[1:]:
        count, earlier = counts[hour], counts.get(hour - HOUR)
        if earlier is None or count.expected is None or earlier.expected is None:
            continue
        moved = min(max(count.present - count.expected, 0), max(earlier.expected - earlier.present, 0))
        counts[hour] = Count(count.expected + moved, count.present)
        counts[hour - HOUR] = Count(earlier.expected - moved, earlier.present)
    return counts


def judge(row: Completeness, count: Count | None, told: Told | None, settled: Settled) -> Completeness:
    """Fill in what ``row`` amounts to; ``count`` and ``told`` are None where that detector has nothing to say."""
    shares: dict[str, float] = {}
    surplus, due = False, 0.0
    if told is not None and told.candles:
        row.candles, row.candle_volume, row.volume = told.candles, told.candle_volume, told.volume
        shares["volume"] = _share(told.candle_volume, told.volume, VOLUME_TOLERANCE)
        due = told.candle_volume
        surplus = told.volume > told.candle_volume * (1 + VOLUME_TOLERANCE)
        if told.counted:
            row.candle_trades, row.fills = told.trades, told.fills
            shares["counts"] = _share(told.trades, told.fills)
            surplus |= told.fills > told.trades
            if told.counted == told.candles:
                row.expected, row.present = told.trades, told.fills
                row.missing = max(told.trades - told.fills, 0)
    if count is not None:
        row.expected, row.present, row.missing = count.expected, count.present, None
        if count.expected is None:
            shares["ids"], due = 0.0, 1.0
        else:
            row.nonexistent = min(settled.nonexistent, max(count.expected - count.present, 0))
            row.missing = max(count.expected - count.present - row.nonexistent, 0)
            row.unfillable = min(settled.unfillable, row.missing)
            shares["ids"] = _share(count.expected - row.nonexistent, count.present)
            due += count.expected - row.nonexistent
    if shares:
        row.evidence = "+".join(name for name in ("ids", "counts", "volume") if name in shares)
        row.percent = 100.0 * min(shares.values())
        row.verdict = _verdict(min(shares.values()), surplus, quiet=not due and not row.present)
    return row


def _share(expected: float, present: float, tolerance: float = 0.0) -> float:
    """The share that is there, at most 1; 1 where nothing has to be."""
    return 1.0 if present >= expected * (1 - tolerance) else present / expected


def _verdict(share: float, surplus: bool, *, quiet: bool) -> Verdict:
    if share < 1.0:
        return "missing"
    if surplus:
        return "surplus"
    return "quiet" if quiet else "complete"
