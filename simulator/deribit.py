"""Deribit: JSON-RPC over a WebSocket; BTC and ETH as inverse perpetuals, the others linear in USDC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from simulator._deribit_rest import ROUTES
from simulator._deribit_streams import RESOLUTIONS, SPEEDS, instrument
from simulator._market import Listing, Market
from simulator._venue import Answer, Desk, Feed, Limits, Message, Query, Session, Venue

_INVERSE = {"BTC": (1, 5, 10), "ETH": (2, 5, 1)}
"""Price decimals, tick, dollars of a contract."""
_DEPTHS = ("1", "10", "20")


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        if coin.name in _INVERSE:
            prices, tick, dollars = _INVERSE[coin.name]
            found.append(
                Listing("deribit", f"{coin.name}-PERPETUAL", coin, "USD", coin.name, prices, 0, tick=tick, step=dollars,
                        perpetual=True, inverse=True, funding_hours=8)
            )  # fmt: skip
            continue
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(8, max(2, 4 - scale)), min(4, max(0, scale))
        found.append(
            Listing("deribit", f"{coin.name}_USDC-PERPETUAL", coin, "USDC", "USDC", prices, quantities, perpetual=True,
                    funding_hours=8)
        )  # fmt: skip
    return found


class _Session(Session):
    """``tested`` counts the test requests that were answered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._channels: set[str] = set()
        self.tested = 0

    def received(self, frame: str) -> Answer:
        """One request."""
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return Answer([_error(None, -32700, "Parse error")])
        name, method, params = request.get("id"), request.get("method"), request.get("params")
        wanted = params.get("channels", []) if isinstance(params, dict) else []
        if not isinstance(wanted, list) or not isinstance(params, dict):
            return Answer([_error(name, -32602, "Invalid params")])
        match method:
            case "public/subscribe":
                return self._subscribe(name, [str(channel) for channel in wanted])
            case "public/unsubscribe":
                gone = [channel for channel in wanted if channel in self._channels]
                self._channels.difference_update(gone)
                return Answer([_result(name, gone)], remove=gone)
            case "public/set_heartbeat":
                return Answer([_result(name, "ok")], add=[self._heartbeat(int(params.get("interval", 30)))])
            case "public/test":
                self.tested += 1
                return Answer([_result(name, {"version": "1.2.26"})])
        return Answer([_error(name, -32601, "Method not found")])

    def _subscribe(self, name: Any, channels: list[str]) -> Answer:
        """Grant what exists; of the rest not a word."""
        feeds = [feed for channel in channels if (feed := self._find(channel)) is not None]
        granted = [feed.key for feed in feeds]
        self._channels.update(granted)
        return Answer([_result(name, granted)], add=feeds)

    def _heartbeat(self, interval_s: int) -> Feed:
        body = msgspec.json.encode({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}})
        return Feed(f"heartbeat {id(self)}", "", every_ms=interval_s * 1_000, on_slot=lambda _: [Message(body)])

    def _find(self, channel: str) -> Feed | None:
        match channel.split("."):
            case ["trades", name, speed] if speed in SPEEDS:
                found = instrument(self._desk, name)
                return found.trades(channel) if found else None
            case ["book", name, "none", depth, speed] if depth in _DEPTHS and speed in SPEEDS:
                found = instrument(self._desk, name)
                return found.books(channel, int(depth), SPEEDS[speed]) if found else None
            case ["ticker", name, speed] if speed in SPEEDS:
                found = instrument(self._desk, name)
                return found.tickers(channel, SPEEDS[speed]) if found else None
            case ["chart", "trades", name, resolution] if resolution in RESOLUTIONS:
                found = instrument(self._desk, name)
                return found.bars(channel, resolution) if found else None
        return None


def _result(name: Any, result: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": name, "result": result})


def _error(name: Any, code: int, message: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": name, "error": {"code": code, "message": message}})


def _connect(desk: Desk, path: str, _: Query) -> Session | None:
    return _Session(desk) if path == "/ws/api/v2" else None


_LIMITS = Limits(1_200, frames_a_second=20, connections_in_5m=100, ping_s=60.0, pong_s_max=60.0)
_MISSING = {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}}
VENUES = (Venue("deribit", _listings, _connect, ROUTES, "fill", _LIMITS, _MISSING),)
