"""Closed candles of the exchanges; a correction replaces what it corrects."""

from __future__ import annotations

from consumers._table import Table, is_long, is_time, no_word
from schemas.events import Kline
from schemas.names import WORD, subject


def _problem(kline: Kline) -> str:
    if not (kline.low > 0 and kline.low <= min(kline.open, kline.close) <= max(kline.open, kline.close) <= kline.high):
        return "not 0 < low <= open, close <= high"
    if kline.volume < 0 or kline.value < 0 or no_word(kline.interval):
        return "volume, value or interval out of bounds"
    if not is_long(kline.trades, kline.revision) or not is_time(kline.received):
        return "trades, revision or received out of bounds"
    return ""


TABLE = Table(
    name="klines",
    event=Kline,
    stream=WORD["klines"].stream,
    subjects=subject("kline", "*", "*", "*"),
    keys=("exchange", "symbol", "interval"),
    symbols=("exchange", "symbol", "interval", "source", "aggregated_from"),
    problem=_problem,
    version=lambda kline, _: (kline.revision, kline.received),
    versions="klines_revised",
)
