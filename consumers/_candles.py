"""What ``candles`` and ``footprints`` share: our own closed 1m candles, as the footprint engine publishes them."""

from __future__ import annotations

from schemas.candles import FootprintCandle
from schemas.names import STREAM_SIGNALS, signal_subject

STREAM, SUBJECTS, VERSIONS = STREAM_SIGNALS, signal_subject("footprint", "*", "*", "1m"), "candles_revised"
ROWS_MAX = 20_000


def problem(candle: FootprintCandle) -> str:
    """Why a candle may not be stored, or ``""``."""
    rows = len(candle.prices)
    counts = {len(candle.row_buys), len(candle.row_sells)}
    if not candle.closed:
        return "not a closed candle"
    if not rows == len(candle.buys) == len(candle.sells) or rows > ROWS_MAX or counts not in ({0}, {rows}):
        return "prices, buys, sells, row_buys and row_sells differ in length, or are too many"
    if not 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high:
        return "not 0 < low <= open, close <= high"
    if candle.revision < 0 or candle.sequence < 0 or candle.row_ticks < 1:
        return "revision, sequence or row_ticks out of bounds"
    return ""


def identity(candle: FootprintCandle) -> tuple[str, str, int]:
    """Every candle here is a 1m candle."""
    return (candle.exchange, candle.symbol, candle.timestamp)


def version(candle: FootprintCandle, sequence: int) -> tuple[int, int, int]:
    """At equal revision the later state of gaps holds, for ``complete``; then what was published later."""
    return (candle.revision, candle.gaps_as_of, sequence)
