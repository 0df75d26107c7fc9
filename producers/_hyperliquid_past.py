"""Hyperliquid's REST history: the last trades, the last 5,000 candles of an interval, hourly funding."""

from __future__ import annotations

from typing import Any

import msgspec

from producers import _hyperliquid_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import FrameError, Page, Recent, Request, Row, Setup
from producers._past import Settled
from producers._recent import latest
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

INFO = "https://api.hyperliquid.xyz/info"
WORDS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d")
_ROWS_MAX = 500


class _Rate(msgspec.Struct):
    time: int
    fundingRate: float


_decode_candles = msgspec.json.Decoder(list[wire.Candle], strict=False).decode
_decode_rates = msgspec.json.Decoder(list[_Rate], strict=False).decode
_decode_prints = msgspec.json.Decoder(list[wire.Print], strict=False).decode


def _ask(weight: int, kind: str, **more: Any) -> Request:
    return Request(INFO, weight, body=msgspec.json.encode({"type": kind, **more}))


def _ask_latest(coin: str, start: int, end: int) -> Request:
    return _ask(20, "recentTrades", coin=coin)._replace(symbol=coin, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    it, rows = BaseSession(setup), list[Row]()
    feed = setup.feeds.channel("trades")[request.symbol]
    for f in _decode_prints(body):
        if f.coin != request.symbol or f.side not in ("A", "B"):
            raise FrameError(f"coin {f.coin!r} or side {f.side!r}"[:100])
        at = it.at(f.time, received)
        rows.append(Row(-1, at, [it.trade(feed, at, received, f.tid, f.px, f.sz, f.side == "A")]))
    return latest(request, rows)


def _candles(body: bytes, _: Instrument) -> list[Candle]:
    # Without a value: it is what stands for it live.
    return [
        Candle(time.micros(it.t), it.o, it.h, it.low, it.c, it.v, None, it.n)
        for it in _decode_candles(body)
    ]  # fmt: skip


def _rates(body: bytes) -> list[Settled]:
    return [Settled(time.micros(it.time), it.fundingRate, None, 1.0) for it in _decode_rates(body)]


# Every answer weighs 20, candles one more for each 60 rows, funding one for each 20.
def _ask_candles(coin: str, interval: str, first: int, last: int) -> Request:
    asked = {"coin": coin, "interval": interval, "startTime": first // 1_000, "endTime": last // 1_000}
    return _ask(20 + _ROWS_MAX // 60 + 1, "candleSnapshot", req=asked)


def _ask_rates(coin: str, _: str, first: int, last: int) -> Request:
    bounds = {"startTime": -(-first // 1_000), "endTime": last // 1_000}
    return _ask(20 + _ROWS_MAX // 20, "fundingHistory", coin=coin, **bounds)


_LENGTHS = {word: time.duration(word) for word in WORDS}
KLINES = _past.klines(_LENGTHS, _ROWS_MAX, _ask_candles, _candles, reach_rows=5_000)
FUNDING = _past.funding(time.HOUR, _ROWS_MAX, _ask_rates, _rates)
RECENT = Recent(request=_ask_latest, parse=_recent, rows_max=10)
