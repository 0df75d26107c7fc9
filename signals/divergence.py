"""Three rules that all go by the name of delta divergence, each under its own. A side is the one that would profit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Bar(NamedTuple):
    """What the rules need of a candle: prices and sizes in any one unit."""

    begin: int
    open: int
    high: int
    low: int
    close: int
    delta: int
    cvd: int


class Pivot(NamedTuple):
    """A swing's turning point."""

    begin: int
    price: int
    cvd: int


def against_bar(bar: Bar) -> str:
    """``divergence_bar``: a rising candle with negative delta, or a falling one with positive; else empty."""
    if bar.close > bar.open and bar.delta < 0:
        return "sell"
    return "buy" if bar.close < bar.open and bar.delta > 0 else ""


def reversal(before: Bar, bar: Bar) -> str:
    """``divergence_reversal``: lower low and lower high on positive delta, or the mirror image."""
    if bar.low < before.low and bar.high < before.high and bar.delta > 0:
        return "buy"
    return "sell" if bar.high > before.high and bar.low > before.low and bar.delta < 0 else ""


def pivot(bars: Sequence[Bar], high: bool) -> Pivot | None:
    """The middle one of ``bars`` where its high (low) is strictly beyond all others'."""
    middle = bars[len(bars) // 2]
    for bar in bars:
        if bar is not middle and (bar.high >= middle.high if high else bar.low <= middle.low):
            return None
    return Pivot(middle.begin, middle.high if high else middle.low, middle.cvd)


def swing(before: Pivot, now: Pivot, high: bool) -> bool:
    """``divergence_swing``: price went further than at the last pivot, CVD did not."""
    if high:
        return now.price > before.price and now.cvd < before.cvd
    return now.price < before.price and now.cvd > before.cvd
