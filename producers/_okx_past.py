"""OKX's REST history: trades by id and time, candles, open interest, settled funding; newest rows first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producers import _okx_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import FrameError, Page, Reach, Recent, Request, Row, Setup
from producers._past import Interest, Settled
from producers._recent import backwards
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

REST = "https://www.okx.com/api/v5"
BARS = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "2h": "2H", "4h": "4H",
        "6h": "6Hutc", "12h": "12Hutc", "1d": "1Dutc"}  # fmt: skip
_PAGE = 100
_MONTHS_S = 90 * 86_400.0


# --- trades ----------------------------------------------------------------------------------------------------
def ask_trades(native: str, reach: Reach) -> Request:
    """Trades up to just after the last id."""
    query = f"instId={native}&type=1&after={reach.last + 2}&limit={_PAGE}"
    return Request(f"{REST}/market/history-trades?{query}", 1, native)


def fills(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    """Rows of ``history-trades``, newest first."""
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for f in wire.decode_fills(body).data:
        at = it.at(f.ts, received)
        if f.side not in ("buy", "sell"):
            raise FrameError(f"side {f.side!r}")
        rows.append(Row(f.tradeId, at, [it.fill(feed, at, received, str(f.tradeId), f.px, f.sz, f.side == "sell")]))
    return rows


def _ask_before(native: str, start: int, end: int) -> Request:
    query = f"instId={native}&type=2&after={-(-end // 1_000)}&limit={_PAGE}"
    return Request(f"{REST}/market/history-trades?{query}", 1, native, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = fills(body, request, received, setup)
    return backwards(request, rows, full=len(rows) >= _PAGE, following=lambda row: ask_trades(
        request.symbol, Reach(0, row.number - 2, 0, 0)
    ))  # fmt: skip


RECENT = Recent(request=_ask_before, parse=_recent, reach_s=_MONTHS_S)


# --- slow channels ---------------------------------------------------------------------------------------------
class _Rate(msgspec.Struct):
    fundingTime: int
    fundingRate: float
    realizedRate: str = ""


class _Rows(msgspec.Struct):
    data: list[list[float]]


class _Rates(msgspec.Struct):
    data: list[_Rate]


_decode_rows = msgspec.json.Decoder(_Rows, strict=False).decode
_decode_rates = msgspec.json.Decoder(_Rates, strict=False).decode


def _candles(body: bytes, instrument: Instrument) -> list[Candle]:
    """Time, open, high, low, close, volume (contracts, on spot coins), coins, quote units, whether it is closed."""
    coins = 5 if instrument.kind == "spot" else 6
    return [
        Candle(time.micros(int(row[0])), row[1], row[2], row[3], row[4], row[coins], row[7])
        for row in _decode_rows(body).data
        if row[8] == 1.0
    ]


def _interests(body: bytes, instrument: Instrument) -> list[Interest]:
    """Time, contracts, coins, dollars."""
    size = instrument.contract_size if instrument.inverse else None
    return [
        Interest(time.micros(int(row[0])), row[2], None if size is None else row[1] * size)
        for row in _decode_rows(body).data
    ]


def _rates(body: bytes) -> list[Settled]:
    # What was charged may differ from what was predicted.
    return [
        Settled(time.micros(it.fundingTime), float(it.realizedRate) if it.realizedRate else it.fundingRate)
        for it in _decode_rates(body).data
    ]


def _between(first: int, last: int) -> str:
    """``after`` is older than, ``before`` newer than; neither is included."""
    return f"after={last // 1_000 + 1}&before={-(-first // 1_000) - 1}"


def _ask_candles(native: str, interval: str, first: int, last: int) -> Request:
    query = f"instId={native}&bar={BARS[interval]}&{_between(first, last)}&limit={_PAGE}"
    return Request(f"{REST}/market/history-candles?{query}")


def _ask_rates(native: str, _: str, first: int, last: int) -> Request:
    query = f"instId={native}&{_between(first, last)}&limit={_PAGE}"
    return Request(f"{REST}/public/funding-rate-history?{query}", 2)


def _ask_interests(native: str, _: str, first: int, last: int) -> Request:
    query = f"instId={native}&period=5m&begin={-(-first // 1_000)}&end={last // 1_000}&limit={_PAGE}"
    return Request(f"{REST}/rubik/stat/contracts/open-interest-history?{query}", 2)


KLINES = _past.klines({word: time.duration(word) for word in BARS}, _PAGE, _ask_candles, _candles)
FUNDING = _past.funding(time.HOUR, _PAGE, _ask_rates, _rates, _MONTHS_S)
OPEN_INTEREST = _past.open_interest(5 * time.MINUTE, _PAGE, _ask_interests, _interests, reach_rows=1_440)
