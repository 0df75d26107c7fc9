"""Binance spot: combined and raw streams, and the history below ``/api/v3``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from simulator._binance_requests import depth_weight, plain_routes, refuse, too_many
from simulator._binance_rest import History
from simulator._binance_session import BinanceSession, common_feed, connect
from simulator._binance_streams import Envelope, Instrument
from simulator._binance_ticker import ticker_24h
from simulator._market import Listing, Market
from simulator._text import decimal
from simulator._venue import Desk, Feed, Limits, Query, Route, Venue

_QUOTE = "USDT"


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(8, max(2, 4 - scale)), min(5, max(0, scale + 1))
        found.append(Listing("binance", coin.name + _QUOTE, coin, _QUOTE, _QUOTE, prices, quantities))
    return found


def _instrument(desk: Desk, symbol: str) -> Instrument | None:
    tape = desk.tapes.get(symbol)
    return None if tape is None else desk.remember(symbol, lambda: Instrument(tape, futures=False))


def _connect(desk: Desk, path: str, query: Query) -> BinanceSession | None:
    def find(stream: str, envelope: Envelope) -> Feed | None:
        symbol, _, rest = stream.partition("@")
        instrument = _instrument(desk, symbol.upper()) if symbol.islower() else None
        return common_feed(instrument, stream, rest, envelope) if instrument else None

    return connect(path, query, find)


def _symbol(listing: Listing) -> dict[str, Any]:
    tick, step = decimal(listing.tick, listing.price_decimals, 8), decimal(listing.step, listing.quantity_decimals, 8)
    price = {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick}
    size = {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000000.00000000", "stepSize": step}
    precisions = {"baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8}
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.coin.name,
        "quoteAsset": listing.quote,
        **precisions,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [price, size, {"filterType": "NOTIONAL", "minNotional": "5.00000000"}],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


async def _exchange_info(desk: Desk, query: Query) -> dict[str, Any]:
    wanted = (
        [query["symbol"]] if "symbol" in query else query.get("symbols", "").strip("[]").replace('"', "").split(",")
    )
    if any(symbol and symbol not in desk.tapes for symbol in wanted):
        raise refuse(-1121, "Invalid symbol.")
    tapes = [desk.tapes[symbol] for symbol in wanted if symbol] or list(desk.tapes.values())
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000}
    head = {"timezone": "UTC", "serverTime": desk.now_ms(), "rateLimits": [limit], "exchangeFilters": []}
    return {**head, "symbols": [_symbol(tape.listing) for tape in tapes]}


_HISTORY = History(_instrument, klines_max=1_000, limit_error=False)
_ROUTES = {
    **plain_routes("/api/v3"),
    "/api/v3/exchangeInfo": Route(_exchange_info, 20),
    "/api/v3/klines": Route(_HISTORY.klines, 2),
    "/api/v3/aggTrades": Route(_HISTORY.aggregates, 4),
    "/api/v3/trades": Route(_HISTORY.trades, 25),
    "/api/v3/historicalTrades": Route(_HISTORY.historical, 25),
    "/api/v3/depth": Route(_HISTORY.depth, depth_weight((100, 5), (500, 25), (1_000, 50), (5_000, 250))),
    "/api/v3/ticker/24hr": Route(ticker_24h(_HISTORY), lambda query: 2 if "symbol" in query else 80),
}
_LIMITS = Limits(6_000, "X-MBX-USED-WEIGHT-1M", too_many, frames_a_second=5, ping_s=20.0, pong_s_max=60.0)
VENUES = (Venue("binance", _listings, _connect, _ROUTES, "fill", _LIMITS, {"code": -1, "msg": "Not found"}),)
