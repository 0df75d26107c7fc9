"""Coinbase Exchange: the public feed and the product endpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from schemas import time
from simulator._book import SLOT_MS
from simulator._candles import INTERVALS, candles, floor, following, id_at
from simulator._coinbase_feed import SIDES, Product, iso
from simulator._market import Listing, Market
from simulator._paths import Paths
from simulator._tape import START
from simulator._text import decimal
from simulator._venue import Answer, Desk, Limits, Query, RequestRefused, Route, Session, Venue

_GRANULARITIES = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}
_ROWS_MAX, _TRADES_MAX = 300, 1_000


class _Session(Session):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted: dict[str, list[str]] = {}

    def received(self, frame: str) -> Answer:
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return _refused("Malformed JSON", "")
        asked = [_channel(channel, request.get("product_ids", [])) for channel in request.get("channels", [])]
        pairs = [(name, product) for name, products in asked for product in products]
        if request.get("type") == "unsubscribe":
            for name, product in pairs:
                if product in self._wanted.get(name, []):
                    self._wanted[name].remove(product)
            return Answer([self._subscriptions()], remove=[f"{name}:{product}" for name, product in pairs])
        if request.get("type") != "subscribe":
            return _refused("Unknown type", "")
        for name, product in pairs:
            if name.startswith(("level2", "level3", "full")) and name != "level2_batch":
                return _refused("Failed to subscribe", "level2, level3, and full channels now require authentication.")
            if name not in ("matches", "heartbeat", "level2_batch"):
                return _refused("Failed to subscribe", f"{name} is not a valid channel")
            if product not in self._desk.tapes:
                return _refused("Failed to subscribe", f"{product} is not a valid product")
        return self._subscribe([pair for pair in pairs if pair[1] not in self._wanted.get(pair[0], [])])

    def _subscribe(self, pairs: Sequence[tuple[str, str]]) -> Answer:
        now = self._desk.now_ms()
        replies, feeds = [], []
        for name, product in pairs:
            self._wanted.setdefault(name, []).append(product)
            it = _product(self._desk, product)
            match name:
                case "matches":
                    replies.append(it.last_match(now))
                    feeds.append(it.matches(now))
                case "heartbeat":
                    feeds.append(it.heartbeat(now))
                case _:
                    replies.append(it.snapshot(now // SLOT_MS * SLOT_MS))
                    feeds.append(it.updates(now))
        return Answer([self._subscriptions(), *replies], add=feeds)

    def _subscriptions(self) -> bytes:
        channels = [{"name": name, "product_ids": products} for name, products in self._wanted.items() if products]
        return msgspec.json.encode({"type": "subscriptions", "channels": channels})


def _channel(asked: Any, products: list[str]) -> tuple[str, list[str]]:
    return (asked, products) if isinstance(asked, str) else (asked["name"], asked.get("product_ids", products))


def _refused(message: str, reason: str) -> Answer:
    return Answer([msgspec.json.encode({"type": "error", "message": message, "reason": reason})])


def _product(desk: Desk, name: str) -> Product:
    if name not in desk.tapes:
        raise RequestRefused({"message": "NotFound"}, 404)
    return desk.remember(name, lambda: Product(desk.tapes[name]))


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(8, max(2, 4 - scale)), min(8, max(0, scale + 4))
        found.append(Listing("coinbase", f"{coin.name}-USD", coin, "USD", "USD", prices, quantities))
    return found


async def _products(desk: Desk, _: Query) -> list[Any]:
    return [
        {
            "id": it.symbol, "base_currency": it.coin.name, "quote_currency": it.quote,
            "quote_increment": decimal(it.tick, it.price_decimals),
            "base_increment": decimal(it.step, it.quantity_decimals),
            "display_name": f"{it.coin.name}-{it.quote}", "min_market_funds": "1", "margin_enabled": False,
            "post_only": False, "limit_only": False, "cancel_only": False, "trading_disabled": False,
            "status": "online", "status_message": "", "fx_stablecoin": False, "auction_mode": False,
        }
        for it in (tape.listing for tape in desk.tapes.values())
    ]  # fmt: skip


async def _candles(desk: Desk, query: Query) -> bytes:
    """Newest first; the last one may be forming."""
    it, now, interval = (
        _product(desk, query["product"]),
        desk.now_ms(),
        _GRANULARITIES.get(query.get("granularity", "60")),
    )
    if interval is None:
        raise RequestRefused({"message": "Unsupported granularity"})
    length = INTERVALS[interval]
    end = min(_moment(query, "end", now), now)
    first = _moment(query, "start", end - (_ROWS_MAX - 1) * length)
    if (end - first) // length >= _ROWS_MAX:
        raise RequestRefused({"message": "granularity too small for the requested time range."})
    opens = list(
        range(
            first if first == floor(interval, first) else following(interval, floor(interval, first)), end + 1, length
        )
    )
    made = await candles(it.tape, interval, opens, now, desk.breathe)
    price, quantity = it.texts.price, it.texts.quantity
    rows = [
        f"[{c.open_ms // 1_000},{price(c.low)},{price(c.high)},{price(c.open)},{price(c.close)},{quantity(c.volume)}]"
        for c in reversed(made)
    ]
    return f"[{','.join(rows)}]".encode()


async def _trades(desk: Desk, query: Query) -> bytes:
    """Newest first, older than ``after``."""
    it = _product(desk, query["product"])
    last = min(id_at(it.tape, desk.now_ms()), _whole(query, "after", 1 << 60) - 1)
    first = max(1, last - min(_whole(query, "limit", _TRADES_MAX), _TRADES_MAX) + 1)
    made = []
    for _, columns in it.tape.minutes(START + (first - 1) // it.tape.fills, START + (last - 1) // it.tape.fills):
        for name, row in enumerate(columns.rows, columns.first_id):
            if first <= name <= last:
                size, price = it.texts.quantity(row[2]), it.texts.price(row[1])
                what = f'"size":"{size}","price":"{price}","side":"{SIDES[row[3]]}"'
                made.append(f'{{"trade_id":{name},{what},"time":"{iso(row[0])}"}}')
        await desk.breathe()
    return f"[{','.join(reversed(made))}]".encode()


async def _time(desk: Desk, _: Query) -> dict[str, Any]:
    return {"iso": iso(desk.now_ms()), "epoch": desk.now_ms() / 1_000}


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, "")
    if text and not text.isdecimal():
        raise RequestRefused({"message": f"{name} is not a number"})
    return int(text[:18]) if text else default


def _moment(query: Query, name: str, default: int) -> int:
    try:
        return time.parse(query[name]) // 1_000 if name in query else default
    except (ValueError, OverflowError) as error:
        raise RequestRefused({"message": f"Invalid {name}"}) from error


_ROUTES = {
    "/time": Route(_time),
    "/products": Route(_products),
    "/products/{product}/candles": Route(_candles),
    "/products/{product}/trades": Route(_trades),
}
VENUES = (
    Venue(
        "coinbase",
        _listings,
        lambda desk, path, _: _Session(desk) if path in ("", "/") else None,
        Paths(_ROUTES),
        limits=Limits(600, "", lambda *_: {"message": "Public rate limit exceeded"}, frames_a_second=100),
        missing={"message": "NotFound"},
    ),
)
