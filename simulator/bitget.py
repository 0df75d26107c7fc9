"""Bitget: v2's sockets for spot and futures, v3's for liquidations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from simulator._bitget_rest import FUTURES_ROUTES, SPOT_ROUTES
from simulator._bitget_streams import DEPTHS, INTERVALS, Instrument, forced_feed, instrument
from simulator._market import Coin, Listing, Market
from simulator._venue import Answer, Desk, Feed, Limits, Query, Session, Venue

_QUOTES = {4: ("USD", "USD"), 5: ("USDC", "PERP")}
"""By a coin's rank: quote and the end of its name; every other contract is in USDT."""


def _spot(market: Market) -> Sequence[Listing]:
    return [_listing("bitget", coin, "USDT", coin.name + "USDT", perpetual=False) for coin in market.coins]


def _futures(market: Market) -> Sequence[Listing]:
    found = []
    for rank, coin in enumerate(market.coins):
        quote, ends = _QUOTES.get(rank, ("USDT", "USDT"))
        found.append(_listing("bitget_futures", coin, quote, coin.name + ends, perpetual=True))
    return found


def _listing(exchange: str, coin: Coin, quote: str, name: str, *, perpetual: bool) -> Listing:
    scale = math.floor(math.log10(coin.price))
    prices, quantities = min(8, max(2, 4 - scale)), min(6, max(0, scale + 1))
    settle = coin.name if quote == "USD" else quote
    return Listing(exchange, name, coin, quote, settle, prices, quantities, perpetual=perpetual)


class _Session(Session):
    """``newest``: v3, which has other words and here only liquidations."""

    def __init__(self, desk: Desk, *, newest: bool) -> None:
        self._desk, self._newest = desk, newest
        self._keys: set[str] = set()

    def received(self, frame: str) -> Answer:
        """``ping``, or a request of any number of topics, each answered by itself."""
        if frame == "ping":
            return Answer([b"pong"])
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return Answer([_event("error", None, code=30003, msg="INVALID op")])
        op, args = request.get("op"), request.get("args")
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list):
            return Answer([_event("error", None, code=30003, msg="INVALID op")])
        replies: list[bytes] = []
        add: list[Feed] = []
        remove: list[str] = []
        for arg in args:
            key = msgspec.json.encode(arg, order="sorted").decode()
            feed = self._find(key, arg) if isinstance(arg, dict) else None
            if feed is None:
                what = f"{arg.get('channel') or arg.get('topic')} doesn't exist" if isinstance(arg, dict) else "arg"
                replies.append(_event("error", arg, code=30001, msg=what))
                continue
            replies.append(_event(op, arg))
            if op == "unsubscribe":
                self._keys.discard(key)
                remove.append(key)
            elif key not in self._keys:
                self._keys.add(key)
                add.append(feed)
                replies += self._history(arg, feed)
        return Answer(replies, add=add, remove=remove)

    def _find(self, key: str, arg: dict[str, Any]) -> Feed | None:
        if self._newest:
            return self._forced(key, arg)
        found, channel = instrument(self._desk, str(arg.get("instId"))), str(arg.get("channel"))
        if found is None or arg.get("instType") != found.market:
            return None
        if channel == "trade":
            return found.trades(key, arg, self._desk.now_ms())
        if channel == "ticker":
            return found.tickers(key, arg)
        if channel in DEPTHS:
            return found.books(key, arg, DEPTHS[channel])
        if channel.removeprefix("candle") in INTERVALS:
            return found.candles(key, arg, INTERVALS[channel.removeprefix("candle")])
        return None

    def _forced(self, key: str, arg: dict[str, Any]) -> Feed | None:
        wanted = str(arg.get("instType")).upper()
        found: list[Instrument] = []
        for name in self._desk.tapes:
            one = instrument(self._desk, name)
            if one is not None and one.market == wanted != "SPOT":
                found.append(one)
        return forced_feed(key, arg, found) if arg.get("topic") == "liquidation" and found else None

    def _history(self, arg: dict[str, Any], feed: Feed) -> list[bytes]:
        found, now_ms = instrument(self._desk, str(arg.get("instId"))), self._desk.now_ms()
        if found is None:
            return []
        if feed.channel == "trades":
            return [found.recent(arg, feed.since_ms)]
        if feed.channel == "klines":
            return [found.rows(arg, INTERVALS[arg["channel"].removeprefix("candle")], now_ms)]
        return []


def _event(event: str, arg: Any, **more: Any) -> bytes:
    return msgspec.json.encode({"event": event, "arg": arg, **more})


def _connect(desk: Desk, path: str, _: Query) -> Session | None:
    version = {"/v2/ws/public": False, "/v3/ws/public": True}.get(path)
    return None if version is None else _Session(desk, newest=version)


_LIMITS = Limits(1_200, frames_a_second=10, connections_in_5m=100)
_MISSING = {"code": "40404", "msg": "Request URL NOT FOUND", "requestTime": 0, "data": None}
VENUES = (
    Venue("bitget", _spot, _connect, SPOT_ROUTES, "fill", _LIMITS, _MISSING),
    Venue("bitget_futures", _futures, _connect, FUTURES_ROUTES, "fill", _LIMITS, _MISSING),
)
