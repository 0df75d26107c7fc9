"""Binance's perpetuals: USD-M on sockets split into /public and /market and below ``/fapi/v1``; BTC and ETH also
COIN-M, settled in the coin, on ``/stream`` and below ``/dapi/v1``."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from simulator import _binance_perpetuals as perpetuals
from simulator._binance_perpetuals_rest import interest_history
from simulator._binance_perpetuals_rest import routes as perpetual_routes
from simulator._binance_requests import depth_weight, plain_routes, too_many
from simulator._binance_rest import History
from simulator._binance_session import BinanceSession, common_feed, connect
from simulator._binance_streams import Envelope, Instrument
from simulator._binance_ticker import ticker_24h
from simulator._market import Listing, Market
from simulator._text import decimal
from simulator._venue import Desk, Feed, Limits, Query, Route, Venue

_QUOTE = "USDT"
_COINS = {"BTC": (1, 100), "ETH": (2, 10)}
"""Listed with the coin as margin too: decimals of the price, dollars of a contract."""
_PUBLIC = re.compile(r"(trade|depth.*|rpiDepth.*|bookTicker)")
_MARK = re.compile(r"markPrice(@1s)?")
_EVERYONE = re.compile(r"!(forceOrder@arr|markPrice@arr(?:@1s)?)")
_SETTLED = re.compile(r"[a-z0-9]+usd_perp@")
_CATEGORY = re.compile(r"(?:/(public|market|private))?(/(?:ws|stream).*)")


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(8, max(2, 4 - scale)), min(3, max(0, scale - 1))
        tick = 10 if scale >= 4 else 1  # 0.10, written with two decimals
        name = coin.name + _QUOTE
        found.append(
            Listing("binance_futures", name, coin, _QUOTE, _QUOTE, prices, quantities, tick=tick, perpetual=True)
        )
    for coin in market.coins:
        if coin.name in _COINS:
            prices, dollars = _COINS[coin.name]
            name = f"{coin.name}USD_PERP"
            found.append(
                Listing("binance_futures", name, coin, "USD", coin.name, prices, 0, step=dollars, perpetual=True,
                        inverse=True)
            )  # fmt: skip
    return found


def _of(symbols: str) -> Callable[[Desk, str], Instrument | None]:
    """The instruments of one of the two markets."""

    def find(desk: Desk, symbol: str) -> Instrument | None:
        return _instrument(desk, symbol) if (symbols == "coins") == symbol.endswith("_PERP") else None

    return find


def _instrument(desk: Desk, symbol: str) -> Instrument | None:
    tape = desk.tapes.get(symbol)
    return None if tape is None else desk.remember(symbol, lambda: Instrument(tape, futures=True))


def _connect(desk: Desk, path: str, query: Query) -> BinanceSession | None:
    split = _CATEGORY.fullmatch(path)
    if split is None:
        return None
    category = split[1] or "public"  # URLs of before the split go on as /public

    def find(stream: str, envelope: Envelope) -> Feed | None:
        if _SETTLED.match(stream):  # on a host of its own, whose sockets were never split
            return _feed(desk, stream, envelope) if split[1] is None else None
        # A stream of another category is acknowledged like any other and never delivers anything.
        wanted = "public" if _PUBLIC.fullmatch(stream.partition("@")[2]) else "market"
        return _feed(desk, stream, envelope) if category == wanted else None

    return connect(split[2], query, find)


def _feed(desk: Desk, stream: str, envelope: Envelope) -> Feed | None:
    if everyone := _EVERYONE.fullmatch(stream):
        instruments = [made for symbol in desk.tapes if (made := _of("dollars")(desk, symbol)) is not None]
        if everyone[1] == "forceOrder@arr":
            return perpetuals.forced_feed(stream, envelope, instruments)
        return perpetuals.mark_feed(stream, envelope, instruments, 1_000 if stream.endswith("@1s") else 3_000)
    symbol, _, rest = stream.partition("@")
    instrument = _instrument(desk, symbol.upper()) if symbol.islower() else None
    if instrument is None:
        return None
    if rest == "forceOrder":
        return perpetuals.forced_feed(stream, envelope, [instrument])
    if mark := _MARK.fullmatch(rest):
        return perpetuals.mark_feed(stream, envelope, [instrument], 1_000 if mark[1] else 3_000)
    return common_feed(instrument, stream, rest, envelope)


def _symbol(listing: Listing) -> dict[str, Any]:
    tick, step = (
        decimal(listing.tick, listing.price_decimals),
        "1" if listing.inverse else decimal(listing.step, listing.quantity_decimals),
    )
    price = {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick}
    size = {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000000", "stepSize": step}
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol.partition("_")[0],
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1577836800000,
        **({"contractStatus": "TRADING", "contractSize": listing.step} if listing.inverse else {"status": "TRADING"}),
        "baseAsset": listing.coin.name,
        "quoteAsset": listing.quote,
        "marginAsset": listing.settle,
        "pricePrecision": listing.price_decimals,
        "quantityPrecision": listing.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [price, size, {"filterType": "MIN_NOTIONAL", "notional": "5"}],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _info(desk: Desk, kind: str, *, inverse: bool) -> dict[str, Any]:
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2_400}
    head = {"timezone": "UTC", "serverTime": desk.now_ms(), "futuresType": kind, "rateLimits": [limit]}
    listed = [_symbol(tape.listing) for tape in desk.tapes.values() if tape.listing.inverse == inverse]
    return {**head, "exchangeFilters": [], "assets": [], "symbols": listed}


async def _exchange_info(desk: Desk, _: Query) -> dict[str, Any]:
    return _info(desk, "U_MARGINED", inverse=False)


async def _coin_info(desk: Desk, _: Query) -> dict[str, Any]:
    return _info(desk, "COIN_MARGINED", inverse=True)


def _klines_weight(query: Query) -> int:
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


def _routes(history: History, prefix: str, info: Callable[[Desk, Query], Awaitable[Any]]) -> dict[str, Route]:
    return {
        **plain_routes(prefix),
        f"{prefix}/exchangeInfo": Route(info),
        f"{prefix}/klines": Route(history.klines, _klines_weight),
        f"{prefix}/aggTrades": Route(history.aggregates, 20),
        f"{prefix}/trades": Route(history.trades, 5),
        f"{prefix}/depth": Route(history.depth, depth_weight((50, 2), (100, 5), (500, 10), (1_000, 20))),
        f"{prefix}/ticker/24hr": Route(ticker_24h(history), lambda query: 1 if "symbol" in query else 40),
        **perpetual_routes(history, prefix),
    }


_DOLLAR_HISTORY = History(_of("dollars"), klines_max=1_500, limit_error=True)
_COIN_HISTORY = History(_of("coins"), klines_max=1_500, limit_error=True)
_ROUTES = {
    **_routes(_DOLLAR_HISTORY, "/fapi/v1", _exchange_info),
    **_routes(_COIN_HISTORY, "/dapi/v1", _coin_info),
    **interest_history(_DOLLAR_HISTORY, _COIN_HISTORY),
}
_LIMITS = Limits(2_400, "X-MBX-USED-WEIGHT-1M", too_many, frames_a_second=10, ping_s=180.0, pong_s_max=600.0)
VENUES = (
    Venue(
        "binance_futures", _listings, _connect, _ROUTES, "aggregate", _LIMITS, {"code": -5000, "msg": "Path invalid"}
    ),
)
