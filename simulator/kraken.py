"""Kraken spot: the v2 socket and the public REST endpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from simulator._book import SLOT_MS
from simulator._kraken_feed import DEPTHS, INTERVALS, iso
from simulator._kraken_rest import ROUTES, pair_of
from simulator._market import Listing, Market
from simulator._venue import Answer, Desk, Feed, Limits, Message, Session, Venue


class _Session(Session):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted: set[str] = set()

    def opened(self) -> Answer:
        data = {"system": "online", "api_version": "v2", "connection_id": 1, "version": "2.0.0"}
        return Answer([msgspec.json.encode({"channel": "status", "type": "update", "data": [data]})])

    def received(self, frame: str) -> Answer:
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return Answer([self._said("error", None, error="Malformed request", success=False)])
        method, name, params = request.get("method"), request.get("req_id"), request.get("params", {})
        if method == "ping":
            return Answer([self._said("pong", name)])
        if method not in ("subscribe", "unsubscribe") or not isinstance(params.get("symbol"), list):
            return Answer([self._said(str(method), name, error="Malformed request", success=False)])
        each = [self._obey(method, name, params, symbol) for symbol in params["symbol"]]
        return Answer(
            [reply for answer in each for reply in answer.replies],
            [feed for answer in each for feed in answer.add],
            [key for answer in each for key in answer.remove],
        )

    def _said(self, method: str, name: int | None, **more: Any) -> bytes:
        at = iso(self._desk.now_ms())
        numbered = {} if name is None else {"req_id": name}
        return msgspec.json.encode({"method": method, **more, "time_in": at, "time_out": at, **numbered})

    def _obey(self, method: str, name: int | None, params: dict[str, Any], symbol: str) -> Answer:
        """One symbol of a request: each gets an answer of its own."""
        key, problem = f"{_feed_name(params)} {symbol}", self._problem(params, symbol)
        if not problem and (method == "subscribe") == (key in self._wanted):
            problem = "Already subscribed" if method == "subscribe" else "Subscription Not Found"
        if problem:
            return Answer([self._said(method, name, error=problem, success=False, symbol=symbol)])
        done = self._said(method, name, result={"channel": params["channel"], "symbol": symbol}, success=True)
        if method == "unsubscribe":
            self._wanted.discard(key)
            return Answer([done], remove=[key])
        heartbeat = [] if self._wanted else [_heartbeat()]
        self._wanted.add(key)
        first, feed = _begin(self._desk, params, symbol)
        return Answer([done, first], [*heartbeat, feed])

    def _problem(self, params: dict[str, Any], symbol: str) -> str:
        if symbol not in self._desk.tapes:
            return f"Currency pair not supported {symbol}"
        if params.get("channel") == "book" and params.get("depth", 10) not in DEPTHS:
            return "Subscription depth not supported"
        if params.get("channel") == "ohlc" and params.get("interval", 1) not in INTERVALS:
            return "Subscription interval not supported"
        return "" if params.get("channel") in ("trade", "book", "ohlc") else "Subscription name invalid"


def _feed_name(params: dict[str, Any]) -> str:
    match params.get("channel"):
        case "book":
            return f"book-{params.get('depth', 10)}"
        case "ohlc":
            return f"ohlc-{params.get('interval', 1)}"
    return str(params.get("channel"))


def _begin(desk: Desk, params: dict[str, Any], symbol: str) -> tuple[bytes, Feed]:
    """The snapshot a subscription begins with, and what follows it."""
    now, pair = desk.now_ms(), pair_of(desk, symbol)
    match params["channel"]:
        case "book":
            depth = params.get("depth", 10)
            return pair.snapshot(now // SLOT_MS * SLOT_MS, depth), pair.updates(now, depth)
        case "ohlc":
            minutes = params.get("interval", 1)
            return pair.history(now, minutes), pair.candles(now, minutes)
    return pair.replay(now), pair.trades(now)


def _heartbeat() -> Feed:
    return Feed("heartbeat", "heartbeat", every_ms=1_000, on_slot=lambda _: [Message(b'{"channel":"heartbeat"}')])


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        prices = min(8, max(1, 4 - math.floor(math.log10(coin.price))))
        found.append(Listing("kraken", f"{coin.name}/USD", coin, "USD", "USD", prices, 8))
    return found


VENUES = (
    Venue(
        "kraken",
        _listings,
        lambda desk, path, _: _Session(desk) if path == "/v2" else None,
        ROUTES,
        limits=Limits(60, "", lambda *_: {"error": ["EAPI:Rate limit exceeded"]}, frames_a_second=20),
        missing={"error": ["EGeneral:Unknown method"]},
    ),
)
