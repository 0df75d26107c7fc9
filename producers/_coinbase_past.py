"""Coinbase's REST history: trades by id and walking back from the newest, candles."""

from __future__ import annotations

from collections.abc import Sequence

from producers import _coinbase_wire as wire
from producers import _past
from producers._exchange import FrameError, Page, Reach, Recent, Request, Row, Setup
from producers._recent import backwards
from producers._session import BaseSession
from schemas import time

REST = "https://api.exchange.coinbase.com"
LENGTHS = {word: time.duration(word) for word in ("1m", "5m", "15m", "1h", "6h", "1d")}
ROWS_MAX = 300
_TRADES_MAX = 1_000


def ask_candles(native: str, interval: str, first: int, last: int) -> Request:
    """Candles that open from ``first`` to ``last``."""
    bounds = f"start={time.iso(first)[:19]}Z&end={time.iso(last)[:19]}Z"
    granularity = LENGTHS[interval] // time.SECOND
    return Request(f"{REST}/products/{native}/candles?granularity={granularity}&{bounds}", 1, native, interval)


def ask_trades(native: str, reach: Reach) -> Request:
    """Trades up to just after the last id."""
    return Request(f"{REST}/products/{native}/trades?limit={_TRADES_MAX}&after={reach.last + 2}", 1, native)


def fills(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    """Rows of ``trades``, newest first."""
    it, feed, rows = BaseSession(setup), setup.feeds.channel("trades")[request.symbol], list[Row]()
    for f in wire.decode_fills(body):
        at = it.at_text(f.time, received)
        if f.side not in ("buy", "sell"):
            raise FrameError(f"side {f.side!r}")
        # The maker's side here too.
        rows.append(Row(f.trade_id, at, [it.trade(feed, at, received, f.trade_id, f.price, f.size, f.side == "buy")]))
    return rows


def _ask_newest(native: str, start: int, end: int) -> Request:
    return Request(f"{REST}/products/{native}/trades?limit={_TRADES_MAX}", 1, native, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = fills(body, request, received, setup)
    return backwards(request, rows, full=len(rows) >= _TRADES_MAX, following=lambda row: ask_trades(
        request.symbol, Reach(0, row.number - 2, 0, 0)
    ))  # fmt: skip


KLINES = _past.klines(LENGTHS, ROWS_MAX, ask_candles, wire.rows)
RECENT = Recent(request=_ask_newest, parse=_recent)
