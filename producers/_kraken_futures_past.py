"""Kraken Futures' REST history: candles and hourly funding."""

from __future__ import annotations

import msgspec

from producers import _kraken_futures_wire as wire
from producers import _past
from producers._exchange import Request
from producers._past import Settled
from schemas import time

REST = "https://futures.kraken.com"
LENGTHS = {word: time.duration(word) for word in ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d")}
ROWS_MAX = 1_000
HOURS = 1.0
"""Funding settles every hour."""


class _Rate(msgspec.Struct):
    timestamp: str
    relativeFundingRate: float


class _Rates(msgspec.Struct):
    rates: list[_Rate]


_decode_rates = msgspec.json.Decoder(_Rates, strict=False).decode


def ask_candles(native: str, interval: str, first: int, last: int) -> Request:
    """Candles that open from ``first`` to ``last``."""
    bounds = f"from={first // time.SECOND}&to={last // time.SECOND}"
    return Request(f"{REST}/api/charts/v1/trade/{native}/{interval}?{bounds}", 5, native, interval)


def _ask_rates(native: str, _: str, __: int, ___: int) -> Request:
    return Request(f"{REST}/derivatives/api/v4/historicalfundingrates?symbol={native}", 10)


def _rates(body: bytes) -> list[Settled]:
    return [Settled(time.parse(it.timestamp), it.relativeFundingRate, None, HOURS) for it in _decode_rates(body).rates]


KLINES = _past.klines(LENGTHS, ROWS_MAX, ask_candles, wire.rows)
# Whatever is asked for, the answer is all there is: years of it.
FUNDING = _past.funding(time.HOUR, 100_000, _ask_rates, _rates)
