"""Kraken Futures: the v1 socket and the public REST endpoints. ETH is listed inverse, all others linear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from schemas import time
from simulator import _derivatives as derivatives
from simulator._candles import INTERVALS, candles, floor, following, id_at, last_trade
from simulator._kraken_futures_feed import REPLAYED, Product
from simulator._market import Listing, Market
from simulator._paths import Paths
from simulator._venue import Answer, Desk, Feed, Limits, Query, RequestRefused, Route, Session, Venue

_INVERSE = ("ETH",)
_ROWS_MAX = 2_000
_HOUR_MS = 3_600_000
_NAMES = {"BTC": "XBT"}
_FEEDS: dict[str, tuple[Callable[[Product, int], bytes] | None, Callable[[Product, int], Feed]]] = {
    "trade": (Product.replay, Product.trades),
    "book": (Product.snapshot, Product.updates),
    "ticker": (None, Product.tickers),
}


class _Session(Session):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def opened(self) -> Answer:
        return Answer([b'{"event":"info","version":1}'])

    def received(self, frame: str) -> Answer:
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return _said("alert", message="Bad websocket message")
        event, feed, products = request.get("event"), request.get("feed"), request.get("product_ids")
        if event not in ("subscribe", "unsubscribe") or not isinstance(products, list):
            return _said("alert", message="Bad request")
        if feed not in _FEEDS:
            return _said("error", message="Invalid feed")
        if any(product not in self._desk.tapes for product in products):
            return _said("error", message="Invalid product id")
        done = msgspec.json.encode({"event": f"{event}d", "feed": feed, "product_ids": products})
        if event == "unsubscribe":
            return Answer([done], remove=[f"{feed} {product}" for product in products])
        first, begin = _FEEDS[feed]
        now, found = self._desk.now_ms(), [_product(self._desk, product) for product in products]
        return Answer([done, *(first(it, now) for it in found if first)], [begin(it, now) for it in found])


def _said(event: str, **more: Any) -> Answer:
    return Answer([msgspec.json.encode({"event": event, **more})])


def _product(desk: Desk, name: str) -> Product:
    if name not in desk.tapes:
        raise RequestRefused({"result": "error", "error": "contractNotFound", "serverTime": _iso(desk.now_ms())})
    return desk.remember(name, lambda: Product(desk.tapes[name]))


def _iso(ms: int) -> str:
    return time.iso(ms * 1_000)


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, name = min(8, max(1, 4 - scale)), _NAMES.get(coin.name, coin.name)
        inverse = coin.name in _INVERSE
        symbol = f"{'PI' if inverse else 'PF'}_{name}USD"
        quantities = 0 if inverse else min(5, max(0, scale))
        found.append(
            Listing("kraken_futures", symbol, coin, "USD", coin.name if inverse else "USD", prices, quantities,
                    perpetual=True, inverse=inverse, funding_hours=1)
        )  # fmt: skip
    return found


async def _instruments(desk: Desk, _: Query) -> dict[str, Any]:
    found = [
        {
            "symbol": it.symbol, "type": "futures_inverse" if it.inverse else "flexible_futures",
            "tickSize": it.tick_size, "contractSize": 1, "tradeable": True, "fundingRateCoefficient": 24,
            "contractValueTradePrecision": it.quantity_decimals, "postOnly": False, "base": it.coin.name,
            "quote": it.quote, "pair": f"{it.coin.name}:{it.quote}",
        }
        for it in (tape.listing for tape in desk.tapes.values())
    ]  # fmt: skip
    index = {"symbol": "in_xbtusd", "type": "spot index", "tradeable": False}
    return {"result": "success", "instruments": [*found, index], "serverTime": _iso(desk.now_ms())}


async def _tickers(desk: Desk, _: Query) -> dict[str, Any]:
    now, found = desk.now_ms(), []
    for symbol, tape in desk.tapes.items():
        texts = _product(desk, symbol).texts
        (day,) = await candles(tape, "1d", [floor("1d", now - 24 * _HOUR_MS)], now, desk.breathe)
        found.append({
            "symbol": symbol, "tag": "perpetual", "last": float(texts.price(last_trade(tape, now)[1])),
            "vol24h": float(texts.quantity(day.volume)), "markPrice": derivatives.mark_price(tape, now),
            "openInterest": float(texts.quantity(derivatives.open_interest(tape, now))), "suspended": False,
        })  # fmt: skip
    return {"result": "success", "tickers": found, "serverTime": _iso(now)}


async def _history(desk: Desk, query: Query) -> dict[str, Any]:
    """The last hundred trades before ``lastTime``, newest first."""
    it, now = _product(desk, query.get("symbol", "")), desk.now_ms()
    until = min(now, time.parse(query["lastTime"]) // 1_000) if "lastTime" in query else now
    last = id_at(it.tape, until)
    trades = [msgspec.json.decode(text) for text in it.fills(max(1, last - REPLAYED + 1), last)]
    rows = [
        {"time": _iso(t["time"]), "trade_id": t["seq"], "uid": t["uid"], "price": t["price"], "size": t["qty"],
         "side": t["side"], "type": t["type"]}
        for t in reversed(trades)
    ]  # fmt: skip
    return {"result": "success", "history": rows, "serverTime": _iso(now)}


async def _charts(desk: Desk, query: Query) -> dict[str, Any]:
    """Candles that open ``from`` to ``to`` (seconds); the last one may be forming."""
    it, interval, now = _product(desk, query["symbol"]), query["resolution"], desk.now_ms()
    if interval not in INTERVALS or not all(query.get(word, "0").isdecimal() for word in ("from", "to")):
        raise RequestRefused({"errors": [{"severity": "ERROR", "error": "invalid argument"}]})
    length, end = INTERVALS[interval], min(now, int(query.get("to", now // 1_000)) * 1_000)
    first = max(int(query.get("from", 0)) * 1_000, end - (_ROWS_MAX - 1) * length)
    first = first if floor(interval, first) == first else following(interval, floor(interval, first))
    made = await candles(it.tape, interval, list(range(first, end + 1, length)), now, desk.breathe)
    price, quantity = it.texts.price, it.texts.quantity
    rows = [
        {"time": c.open_ms, "open": price(c.open), "high": price(c.high), "low": price(c.low),
         "close": price(c.close), "volume": quantity(c.volume)}
        for c in made
    ]  # fmt: skip
    return {"candles": rows, "more_candles": False}


async def _funding(desk: Desk, query: Query) -> dict[str, Any]:
    tape, now = _product(desk, query.get("symbol", "")).tape, desk.now_ms()
    hours = range(now // _HOUR_MS - 99, now // _HOUR_MS + 1)
    rates = [(hour * _HOUR_MS, derivatives.funding_rate(tape, hour * _HOUR_MS)) for hour in hours]
    rows = [
        {"timestamp": _iso(at), "relativeFundingRate": rate, "fundingRate": rate * derivatives.mark_price(tape, at)}
        for at, rate in rates
    ]
    return {"result": "success", "rates": rows, "serverTime": _iso(now)}


_ROUTES = {
    "/derivatives/api/v3/instruments": Route(_instruments),
    "/derivatives/api/v3/tickers": Route(_tickers),
    "/derivatives/api/v3/history": Route(_history),
    "/derivatives/api/v4/historicalfundingrates": Route(_funding),
    "/api/charts/v1/trade/{symbol}/{resolution}": Route(_charts),
}
VENUES = (
    Venue(
        "kraken_futures",
        _listings,
        lambda desk, path, _: _Session(desk) if path == "/ws/v1" else None,
        Paths(_ROUTES),
        limits=Limits(3_000, "", lambda *_: {"result": "error", "error": "apiLimitExceeded"}, frames_a_second=100),
        missing={"result": "error", "error": "notFound"},
    ),
)
