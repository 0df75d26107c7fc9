"""Binance's REST history: trades by id, candles, open interest and settled funding."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producers import _binance_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import Page, Reach, Recent, Request, Row, Setup
from producers._past import Interest, Settled
from producers._recent import forwards
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

SPOT, FUTURES, COINS = "https://api.binance.com", "https://fapi.binance.com", "https://dapi.binance.com"
_WORDS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")
_LENGTHS = {word: time.duration(word) for word in _WORDS}
_ROWS_MAX = 1_000


def futures(native: str) -> str:
    """Where a contract's endpoints are: those settled in their coin have a host of their own."""
    return f"{COINS}/dapi/v1" if wire.is_coin(native) else f"{FUTURES}/fapi/v1"


# --- trades by id ----------------------------------------------------------------------------------------------
def ask_fills(native: str, reach: Reach) -> Request:
    """Spot: fills from just before the first id on."""
    query = f"symbol={native}&fromId={max(reach.first - 1, 0)}&limit=1000"
    return Request(f"{SPOT}/api/v3/historicalTrades?{query}", 25, native)


def ask_aggregates(native: str, reach: Reach) -> Request:
    """Futures: aggregates from just before the first id on."""
    query = f"symbol={native}&fromId={max(reach.first - 1, 0)}&limit=1000"
    return Request(f"{futures(native)}/aggTrades?{query}", 20, native)


def fills(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    """Rows of ``historicalTrades``."""
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for f in wire.decode_fills(body):
        at = it.at(f.time, received)
        rows.append(Row(f.id, at, [it.trade(feed, at, received, f.id, f.price, f.qty, f.isBuyerMaker)]))
    return rows


def aggregates(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    """Rows of ``aggTrades``."""
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for a in wire.decode_aggregates(body):
        at = it.at(a.T, received)
        rows.append(Row(a.a, at, [it.numbered(feed, at, received, a.a, a.p, a.q, a.m, a.last - a.first + 1)]))
    return rows


# --- trades by time --------------------------------------------------------------------------------------------
def _ask_first_fill(native: str, start: int, end: int) -> Request:
    # Fills are served by id only; an aggregate, by time too, names its first.
    query = f"symbol={native}&startTime={-(-start // 1_000)}&limit=1"
    return Request(f"{SPOT}/api/v3/aggTrades?{query}", 4, native, start=start, end=end)


def _recent_fills(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    if "/aggTrades?" in request.url:
        found = wire.decode_aggregates(body)
        if not found or time.micros(found[0].T) >= request.end:
            return Page((), request.start, request.end)
        first = Reach(found[0].first + 1, 0, 0, 0)  # asked for is from just before it on
        following = ask_fills(request.symbol, first)._replace(start=request.start, end=request.end)
        return Page((), request.start, request.start, following)
    rows = fills(body, request, received, setup)
    return forwards(request, rows, full=len(rows) >= _ROWS_MAX, following=lambda row: ask_fills(
        request.symbol, Reach(row.number + 2, 0, 0, 0)
    ))  # fmt: skip


def _ask_recent(native: str, start: int, end: int) -> Request:
    query = f"symbol={native}&startTime={-(-start // 1_000)}&limit=1000"
    return Request(f"{futures(native)}/aggTrades?{query}", 20, native, start=start, end=end)


def _recent_aggregates(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = aggregates(body, request, received, setup)
    return forwards(request, rows, full=len(rows) >= _ROWS_MAX, following=lambda row: ask_aggregates(
        request.symbol, Reach(row.number + 2, 0, 0, 0)
    ))  # fmt: skip


RECENT_FILLS = Recent(request=_ask_first_fill, parse=_recent_fills)
RECENT_AGGREGATES = Recent(request=_ask_recent, parse=_recent_aggregates)


# --- slow channels ---------------------------------------------------------------------------------------------
_Values = tuple[int, float, float, float, float, float, int, float, int, object, object, object]
"""Open time, open, high, low, close, volume, close time, quote volume, number of trades, …"""


class _Interest(msgspec.Struct):
    timestamp: int
    sumOpenInterest: float
    sumOpenInterestValue: float


class _Rate(msgspec.Struct):
    fundingTime: int
    fundingRate: float
    markPrice: str = ""


_decode_candles = msgspec.json.Decoder(list[_Values], strict=False).decode
_decode_interests = msgspec.json.Decoder(list[_Interest], strict=False).decode
_decode_rates = msgspec.json.Decoder(list[_Rate], strict=False).decode


def _candles(body: bytes, _: Instrument) -> list[Candle]:
    return [
        Candle(time.micros(at), first, high, low, last, volume, value, trades)
        for at, first, high, low, last, volume, _, value, trades, *_ in _decode_candles(body)
    ]


def _coin_candles(body: bytes, instrument: Instrument) -> list[Candle]:
    """The volume is contracts, and what is the quote volume elsewhere is coins."""
    return [
        row._replace(volume=row.value or 0.0, value=row.volume * instrument.contract_size)
        for row in _candles(body, instrument)
    ]


def _coin_interests(body: bytes, instrument: Instrument) -> list[Interest]:
    """Of the perpetual contract: dated ones are asked for by a quarter that their names do not tell."""
    if instrument.kind != "perpetual":
        return []
    return [
        Interest(time.micros(it.timestamp), it.sumOpenInterestValue, it.sumOpenInterest * instrument.contract_size)
        for it in _decode_interests(body)
    ]


def _interests(body: bytes, _: Instrument) -> list[Interest]:
    return [
        Interest(time.micros(it.timestamp), it.sumOpenInterest, it.sumOpenInterestValue)
        for it in _decode_interests(body)
    ]


def _rates(body: bytes) -> list[Settled]:
    # Old rows have an empty mark price.
    return [
        Settled(time.micros(it.fundingTime), it.fundingRate, float(it.markPrice) if it.markPrice else None)
        for it in _decode_rates(body)
    ]


def _between(first: int, last: int) -> str:
    return f"startTime={-(-first // 1_000)}&endTime={last // 1_000}"


def _ask_spot_candles(native: str, interval: str, first: int, last: int) -> Request:
    query = f"symbol={native}&interval={interval}&{_between(first, last)}&limit={_ROWS_MAX}"
    return Request(f"{SPOT}/api/v3/klines?{query}", 2)


def _ask_candles(native: str, interval: str, first: int, last: int) -> Request:
    rows = (last - first) // _LENGTHS[interval] + 1
    weight = 1 if rows < 100 else 2 if rows < 500 else 5
    query = f"symbol={native}&interval={interval}&{_between(first, last)}&limit={rows}"
    return Request(f"{futures(native)}/klines?{query}", weight)


# These two have limits of their own, 1,000 and 500 requests in five minutes: as much weight keeps to them.
def _ask_interests(native: str, _: str, first: int, last: int) -> Request:
    query = f"symbol={native}&period=5m&{_between(first, last)}&limit=500"
    return Request(f"{FUTURES}/futures/data/openInterestHist?{query}", 12)


def _ask_coin_interests(native: str, _: str, first: int, last: int) -> Request:
    query = f"pair={native.partition('_')[0]}&contractType=PERPETUAL&period=5m&{_between(first, last)}&limit=500"
    return Request(f"{COINS}/futures/data/openInterestHist?{query}", 12)


def _ask_rates(native: str, _: str, first: int, last: int) -> Request:
    return Request(f"{futures(native)}/fundingRate?symbol={native}&{_between(first, last)}&limit=1000", 24)


SPOT_KLINES = _past.klines(_LENGTHS, _ROWS_MAX, _ask_spot_candles, _candles)
_USD_KLINES = _past.klines(_LENGTHS, _ROWS_MAX, _ask_candles, _candles)
# No more than 200 days at once.
_COIN_KLINES = _past.klines(_LENGTHS, _ROWS_MAX, _ask_candles, _coin_candles, page_us_max=196 * time.DAY)
KLINES = _past.either(wire.is_coin, _COIN_KLINES, _USD_KLINES)
_MONTH_S = 30 * 86_400.0
OPEN_INTEREST = _past.either(
    wire.is_coin,
    _past.open_interest(5 * time.MINUTE, 500, _ask_coin_interests, _coin_interests, _MONTH_S),
    _past.open_interest(5 * time.MINUTE, 500, _ask_interests, _interests, _MONTH_S),
)
FUNDING = _past.funding(time.HOUR, 1_000, _ask_rates, _rates)
