"""Deribit's REST history: candles, and what funding came to in eight hours, by the hour."""

from __future__ import annotations

import msgspec

from producers import _past
from producers._candles import Row as Candle
from producers._exchange import Request
from producers._past import Settled
from schemas import time
from schemas.instruments import Instrument

REST = "https://www.deribit.com/api/v2/public"
RESOLUTIONS = {
    "1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "3h": "180", "6h": "360",
    "12h": "720", "1d": "1D",
}  # fmt: skip
_CANDLES_MAX, _RATES_MAX = 5_000, 700


class _Columns(msgspec.Struct):
    ticks: list[int] = []
    open: list[float] = []
    high: list[float] = []
    low: list[float] = []
    close: list[float] = []
    volume: list[float] = []
    cost: list[float] = []


class _Rate(msgspec.Struct):
    timestamp: int
    interest_8h: float
    index_price: float | None = None


class _Chart(msgspec.Struct):
    result: _Columns


class _Rates(msgspec.Struct):
    result: list[_Rate]


_decode_chart = msgspec.json.Decoder(_Chart, strict=False).decode
_decode_rates = msgspec.json.Decoder(_Rates, strict=False).decode


def _candles(body: bytes, _: Instrument) -> list[Candle]:
    it = _decode_chart(body).result
    columns = (map(time.micros, it.ticks), it.open, it.high, it.low, it.close, it.volume, it.cost)
    return [Candle(*row) for row in zip(*columns, strict=True)]


def _rates(body: bytes) -> list[Settled]:
    return [
        Settled(time.micros(it.timestamp), it.interest_8h, None, 8.0, it.index_price)
        for it in _decode_rates(body).result
    ]


def _between(native: str, first: int, last: int) -> str:
    return f"instrument_name={native}&start_timestamp={-(-first // 1_000)}&end_timestamp={last // 1_000}"


def _ask_candles(native: str, interval: str, first: int, last: int) -> Request:
    return Request(
        f"{REST}/get_tradingview_chart_data?{_between(native, first, last)}&resolution={RESOLUTIONS[interval]}"
    )


def _ask_rates(native: str, _: str, first: int, last: int) -> Request:
    return Request(f"{REST}/get_funding_rate_history?{_between(native, first, last)}")


KLINES = _past.klines({word: time.duration(word) for word in RESOLUTIONS}, _CANDLES_MAX, _ask_candles, _candles)
FUNDING = _past.funding(time.HOUR, _RATES_MAX, _ask_rates, _rates, continuous=True)
