"""Bybit's REST history: the last trades, candles, open interest, settled funding; newest rows first."""

from __future__ import annotations

from functools import partial

import msgspec

from producers import _bybit_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import FrameError, Page, Past, Recent, Request, Row, Setup
from producers._past import Interest, Settled
from producers._recent import latest
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

REST = "https://api.bybit.com/v5/market"
WORDS = {"1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "1h": "60", "2h": "120", "4h": "240", "6h": "360",
         "12h": "720", "1d": "D", "1w": "W"}  # fmt: skip
_CANDLES_MAX, _ROWS_MAX = 1_000, 200


class _Fill(msgspec.Struct):
    execId: str
    price: float
    size: float
    side: str
    time: int
    isBlockTrade: bool = False


class _Interest(msgspec.Struct):
    timestamp: int
    openInterest: float
    singleOpenInterest: str = ""


class _Rate(msgspec.Struct):
    fundingRateTimestamp: int
    fundingRate: float


class _List(msgspec.Struct):
    rows: msgspec.Raw = msgspec.field(name="list")


class _Answer(msgspec.Struct):
    result: _List


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_fills = msgspec.json.Decoder(list[_Fill], strict=False).decode
_decode_candles = msgspec.json.Decoder(list[tuple[int, float, float, float, float, float, float]], strict=False).decode
_decode_interests = msgspec.json.Decoder(list[_Interest], strict=False).decode
_decode_rates = msgspec.json.Decoder(list[_Rate], strict=False).decode


def _rows(body: bytes) -> msgspec.Raw:
    return _decode_answer(body).result.rows


def _last(spot: bool) -> int:
    return 60 if spot else 1_000


def _query(native: str, spot: bool) -> str:
    return f"category={'spot' if spot else 'inverse' if wire.is_inverse(native) else 'linear'}&symbol={native}"


def _ask_latest(native: str, start: int, end: int, *, spot: bool) -> Request:
    query = f"{_query(native, spot)}&limit={_last(spot)}"
    return Request(f"{REST}/recent-trade?{query}", 1, native, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for f in _decode_fills(_rows(body)):
        if f.side not in ("Buy", "Sell"):
            raise FrameError(f"side {f.side!r}")
        at = it.at(f.time, received)
        # A block trade never met the book.
        told = () if f.isBlockTrade else (it.fill(feed, at, received, f.execId, f.price, f.size, f.side == "Sell"),)
        rows.append(Row(-1, at, told))
    return latest(request, rows)


def _candles(body: bytes, instrument: Instrument) -> list[Candle]:
    """Volume and turnover; of inverse contracts the volume is dollars, and the turnover coins."""
    found = []
    for at, first, high, low, last, volume, turnover in _decode_candles(_rows(body)):
        volumes = (turnover, volume) if instrument.inverse else (volume, turnover)
        found.append(Candle(time.micros(at), first, high, low, last, *volumes))
    return found


def _interests(body: bytes, instrument: Instrument) -> list[Interest]:
    if instrument.inverse:
        return []  # dollars, and no price to tell the coins by
    return [
        # Both sides are counted where the one is not told.
        Interest(time.micros(it.timestamp), float(it.singleOpenInterest or it.openInterest / 2))
        for it in _decode_interests(_rows(body))
    ]


def _rates(body: bytes) -> list[Settled]:
    return [Settled(time.micros(it.fundingRateTimestamp), it.fundingRate) for it in _decode_rates(_rows(body))]


def _ask_candles(native: str, interval: str, first: int, last: int, *, spot: bool) -> Request:
    bounds = f"start={first // 1_000}&end={last // 1_000}&limit={_CANDLES_MAX}"
    return Request(f"{REST}/kline?{_query(native, spot)}&interval={WORDS[interval]}&{bounds}")


def _between(first: int, last: int) -> str:
    return f"startTime={-(-first // 1_000)}&endTime={last // 1_000}&limit={_ROWS_MAX}"


def _ask_interests(native: str, _: str, first: int, last: int) -> Request:
    return Request(f"{REST}/open-interest?{_query(native, spot=False)}&intervalTime=5min&{_between(first, last)}")


def _ask_rates(native: str, _: str, first: int, last: int) -> Request:
    return Request(f"{REST}/funding/history?{_query(native, spot=False)}&{_between(first, last)}")


def klines(*, spot: bool) -> Past:
    """Candles of a market."""
    lengths = {word: time.duration(word) for word in WORDS}
    return _past.klines(lengths, _CANDLES_MAX, partial(_ask_candles, spot=spot), _candles)


def recent(*, spot: bool) -> Recent:
    """The last 1,000 trades, on spot 60: there is no way further back."""
    return Recent(request=partial(_ask_latest, spot=spot), parse=_recent, rows_max=_last(spot))


OPEN_INTEREST = _past.open_interest(5 * time.MINUTE, _ROWS_MAX, _ask_interests, _interests)
FUNDING = _past.funding(time.HOUR, _ROWS_MAX, _ask_rates, _rates)
