"""Kraken's REST history: trades by time, and the last 720 candles of an interval."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producers import _kraken_wire as wire
from producers import _past
from producers._candles import Row as Candle
from producers._exchange import FrameError, Page, Reach, Recent, Request, Row, Setup
from producers._recent import forwards
from producers._session import BaseSession
from schemas import time
from schemas.instruments import Instrument

REST = "https://api.kraken.com"
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
_ROWS_MAX, _TRADES_MAX = 720, 1_000


def ask_trades(native: str, reach: Reach) -> Request:
    """Trades from just before the first one missing."""
    # By time only: a millisecond early, so that the trade before the first is among them.
    return _ask_since(native, (reach.after - time.MILLISECOND) * 1_000)


def _ask_since(native: str, since: int) -> Request:
    return Request(f"{REST}/0/public/Trades?pair={native}&since={since}&count={_TRADES_MAX}", 1, native)


def past(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    """Rows of ``Trades``, oldest first."""
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for f in wire.past(body):
        if f.side not in ("b", "s"):
            raise FrameError(f"side {f.side!r}")
        at = it.at(int(f.time * time.SECOND), received)  # what is finer is cut off, as on the socket
        trade = it.trade(feed, at, received, f.trade_id, f.price, f.volume, f.side == "s")
        rows.append(Row(f.trade_id, at, [trade]))
    return rows


def _ask_recent(native: str, start: int, end: int) -> Request:
    return _ask_since(native, start * 1_000 - 1)._replace(start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = past(body, request, received, setup)

    def following(newest: Row) -> Request:
        # Its own time once more, as others may share it; unless that is all the page holds.
        again = newest.timestamp > rows[0].timestamp
        return _ask_since(request.symbol, newest.timestamp * 1_000 + (-1 if again else 999))

    return forwards(request, rows, full=len(rows) >= _TRADES_MAX, following=following)


# --- candles ---------------------------------------------------------------------------------------------------
_Values = tuple[int, float, float, float, float, float, float, int]
"""Open time (s), open, high, low, close, mean price, volume, number of trades."""
_decode_candles = msgspec.json.Decoder(list[_Values], strict=False).decode


def _candles(body: bytes, _: Instrument) -> list[Candle]:
    return [
        Candle(at * time.SECOND, first, high, low, last, volume, volume * mean, trades)
        for rows in wire.series(body)
        for at, first, high, low, last, mean, volume, trades in _decode_candles(rows)
    ]


def _ask_candles(native: str, interval: str, first: int, _: int) -> Request:
    since = first // time.SECOND - 1
    return Request(f"{REST}/0/public/OHLC?pair={native}&interval={MINUTES[interval]}&since={since}")


_LENGTHS = {word: time.duration(word) for word in MINUTES}
KLINES = _past.klines(_LENGTHS, _ROWS_MAX, _ask_candles, _candles, reach_rows=_ROWS_MAX)
RECENT = Recent(request=_ask_recent, parse=_recent)
