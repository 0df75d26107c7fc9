"""Bitget's REST history: trades by time and id, candles, the last hundred settlements."""

from __future__ import annotations

from functools import partial

import msgspec

from producers import _bitget_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import FrameError, Page, Past, Recent, Request, Row, Setup
from producers._past import Settled
from producers._recent import backwards
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

REST = "https://api.bitget.com/api/v2"
_SPOT_WORDS = {"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h", "6h": "6Hutc",
               "12h": "12Hutc", "1d": "1Dutc"}  # fmt: skip
_WORDS = {"1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "4h": "4H", "6h": "6Hutc", "12h": "12Hutc",
          "1d": "1Dutc"}  # fmt: skip
_CANDLES_MAX, _TRADES_MAX, _RATES_MAX = 200, 1_000, 100


class _Fill(msgspec.Struct):
    tradeId: int
    price: float
    size: float
    side: str
    ts: int


class _Rate(msgspec.Struct):
    fundingTime: int
    fundingRate: float


class _Fills(msgspec.Struct):
    data: list[_Fill]


class _Rows(msgspec.Struct):
    data: list[list[float]]


class _Rates(msgspec.Struct):
    data: list[_Rate]


_decode_fills = msgspec.json.Decoder(_Fills, strict=False).decode
_decode_rows = msgspec.json.Decoder(_Rows, strict=False).decode
_decode_rates = msgspec.json.Decoder(_Rates, strict=False).decode


def _path(native: str, path: str, *, futures: bool) -> str:
    if futures:
        return f"{REST}/mix/market/{path}?symbol={native}&productType={wire.market(native)}"
    return f"{REST}/spot/market/{path}?symbol={native}"


def _ask_trades(native: str, start: int, end: int, *, futures: bool) -> Request:
    bounds = f"startTime={start // 1_000}&endTime={-(-end // 1_000)}&limit={_TRADES_MAX}"
    return Request(f"{_path(native, 'fills-history', futures=futures)}&{bounds}", 2, native, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup, *, futures: bool) -> Page:
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    numbers = {}
    for f in _decode_fills(body).data:
        side = f.side.lower()
        if side not in ("buy", "sell"):
            raise FrameError(f"side {side!r}"[:100])
        at = it.at(f.ts, received)
        row = Row(-1, at, [it.trade(feed, at, received, f.tradeId, f.price, f.size, side == "sell")])
        rows.append(row)
        numbers[f.tradeId] = at

    def following(_: Row) -> Request:
        oldest = min(numbers, key=lambda number: (numbers[number], number))
        asked = _ask_trades(request.symbol, request.start, request.end, futures=futures)
        return asked._replace(url=f"{asked.url}&idLessThan={oldest}")

    return backwards(request, rows, full=len(rows) >= _TRADES_MAX, following=following)


def _candles(body: bytes, _: Instrument) -> list[Candle]:
    """Time, open, high, low, close, coins; then quote units, which on spot stand behind their worth in dollars."""
    return [
        Candle(time.micros(int(row[0])), row[1], row[2], row[3], row[4], row[5], row[7] if len(row) > 7 else row[6])
        for row in _decode_rows(body).data
    ]


def _rates(body: bytes) -> list[Settled]:
    return [Settled(time.micros(it.fundingTime), it.fundingRate) for it in _decode_rates(body).data]


def _ask_candles(native: str, interval: str, first: int, last: int, *, futures: bool) -> Request:
    word = (_WORDS if futures else _SPOT_WORDS)[interval]
    # Whether the end itself is among them is not said: one more is asked for.
    bounds = f"startTime={first // 1_000}&endTime={last // 1_000 + 1}&limit={_CANDLES_MAX}"
    return Request(f"{_path(native, 'history-candles', futures=futures)}&granularity={word}&{bounds}")


def _ask_rates(native: str, _: str, __: int, ___: int) -> Request:
    # By the page, not by time: the first one is the latest.
    return Request(f"{_path(native, 'history-fund-rate', futures=True)}&pageSize={_RATES_MAX}&pageNo=1")


def klines(*, futures: bool) -> Past:
    """Candles of a market."""
    lengths = {word: time.duration(word) for word in _WORDS}
    return _past.klines(lengths, _CANDLES_MAX - 1, partial(_ask_candles, futures=futures), _candles)


def recent(*, futures: bool) -> Recent:
    """Trades of the last days."""
    ask, parse = partial(_ask_trades, futures=futures), partial(_recent, futures=futures)
    return Recent(request=ask, parse=parse, reach_s=7 * 86_400.0)


FUNDING = _past.funding(time.HOUR, _RATES_MAX, _ask_rates, _rates, reach_rows=_RATES_MAX)
