"""Bybit v5: spot, and linear and inverse perpetuals on sockets of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

import msgspec

from simulator._bybit_rest import routes
from simulator._bybit_streams import DEPTHS, INTERVALS, Instrument
from simulator._market import Coin, Listing, Market
from simulator._venue import Answer, Desk, Feed, Limits, Query, Session, Venue

_QUOTE = "USDT"
_INVERSE = {"XRP", "DOT"}
_ARGS_MAX, _CHARS_MAX = 10, 21_000
_PREFIX = "/v5/public/"


def _spot(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(9, max(2, 4 - scale)), min(6, max(0, scale + 2))
        found.append(Listing("bybit", coin.name + _QUOTE, coin, _QUOTE, _QUOTE, prices, quantities))
    return found


def _contracts(market: Market) -> Sequence[Listing]:
    return [_contract(coin) for coin in market.coins]


def _contract(coin: Coin) -> Listing:
    scale = math.floor(math.log10(coin.price))
    prices = min(9, max(2, 5 - scale))
    if coin.name in _INVERSE:  # in dollars, by the dollar
        return Listing(
            "bybit_futures", f"{coin.name}USD", coin, "USD", coin.name, prices, 0, perpetual=True, inverse=True
        )
    return Listing("bybit_futures", coin.name + _QUOTE, coin, _QUOTE, _QUOTE, prices, min(3, max(0, scale - 1)),
                   tick=10 if scale >= 4 else 1, perpetual=True)  # fmt: skip


def _instrument(desk: Desk, symbol: str) -> Instrument | None:
    tape = desk.tapes.get(symbol)
    if tape is None:
        return None
    category = "spot" if not tape.listing.perpetual else "inverse" if tape.listing.inverse else "linear"
    return desk.remember(symbol, lambda: Instrument(tape, category))


class BybitSession(Session):
    """One connection to a category's socket."""

    _made = count()

    def __init__(self, desk: Desk, category: str) -> None:
        self._desk, self._category = desk, category
        self._name = f"{next(self._made):08x}-sim"
        self._keys: dict[str, str] = {}

    def received(self, frame: str) -> Answer:
        """One request: all of its topics, or none if one of them is wrong."""
        try:
            request = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            return self._said("", False, "Invalid JSON")
        if not isinstance(request, dict):
            return self._said("", False, "Request not authorized")
        op, args = str(request.get("op", "")), request.get("args", [])
        if op == "ping":
            return self._pong(request)
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            return self._said(op, False, "Params Error")
        topics = [str(arg) for arg in args]
        if self._category == "spot" and len(topics) > _ARGS_MAX:
            return self._said(op, False, f"args size >{_ARGS_MAX}")
        if op == "unsubscribe":
            keys = [self._keys.pop(topic) for topic in topics if topic in self._keys]
            return Answer(self._said(op, True, "", request).replies, remove=keys)
        return self._subscribe(op, topics, request)

    def _subscribe(self, op: str, topics: list[str], request: dict[str, Any]) -> Answer:
        known = [topic for topic in topics if topic in self._keys]
        if known:
            return self._said(op, False, f"error:already subscribed,topic:{known[0]}")
        if sum(map(len, [*self._keys, *topics])) > _CHARS_MAX:
            return self._said(op, False, "args length exceeds limit")
        # Each connection has its own snapshots, so keys differ from one to the next.
        found = [(topic, self._find(f"{topic} {self._name}-{next(self._made)}", topic)) for topic in topics]
        wrong = [topic for topic, made in found if made is None]
        if wrong:
            return self._said(op, False, f"Invalid symbol :[{','.join(wrong)}]")
        replies, feeds = list(self._said(op, True, "subscribe", request).replies), []
        for topic, made in found:
            if made is not None:
                self._keys[topic] = made[1].key
                feeds.append(made[1])
                replies += [made[0]] if made[0] else []
        return Answer(replies, add=feeds)

    def _find(self, key: str, topic: str) -> tuple[bytes, Feed] | None:
        """What is sent at once, and the feed."""
        word, *middle, symbol = topic.split(".") if "." in topic else ("", topic)
        its, now = _instrument(self._desk, symbol), self._desk.now_ms()
        if its is None or its.category != self._category:
            return None
        match (word, *middle):
            case ("publicTrade",):
                return b"", its.trades(key)
            case ("tickers",):
                return its.tickers(key, now)
            case ("allLiquidation",) if self._category != "spot":
                return b"", its.liquidations(key)
            case ("orderbook", levels) if levels.isdecimal() and int(levels) in DEPTHS:
                return its.books(key, int(levels), now)
            case ("kline", interval) if interval in INTERVALS:
                return b"", its.candles(key, interval)
        return None

    def _pong(self, request: dict[str, Any]) -> Answer:
        if self._category == "spot":
            return self._said("ping", True, "pong", request)
        body = {"op": "pong", "args": [str(self._desk.now_ms())], "conn_id": self._name}
        return Answer([msgspec.json.encode(body)])

    def _said(self, op: str, success: bool, text: str, request: dict[str, Any] | None = None) -> Answer:
        """A refusal does not repeat the request's id."""
        body: dict[str, Any] = {"success": success, "ret_msg": text, "conn_id": self._name, "op": op}
        if request is not None and "req_id" in request:
            body["req_id"] = request["req_id"]
        return Answer([msgspec.json.encode(body)])


def _connect(desk: Desk, path: str, _: Query) -> BybitSession | None:
    category = path.removeprefix(_PREFIX)
    wanted = ("spot",) if desk.venue.id == "bybit" else ("linear", "inverse")
    return BybitSession(desk, category) if category in wanted else None


def _too_many(_: int, __: int) -> dict[str, Any]:
    return {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}, "time": 0}


_LIMITS = Limits(7_200, "", _too_many, frames_a_second=20, connections_in_5m=500, ping_s=20.0, pong_s_max=60.0)
_venue = partial(Venue, connect=_connect, routes=routes(_instrument), unit="fill", limits=_LIMITS, missing={})
VENUES = (_venue("bybit", _spot), _venue("bybit_futures", _contracts))
