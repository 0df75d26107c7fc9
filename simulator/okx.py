"""OKX v5: a public and a business socket, spot pairs and swaps (most linear, some inverse)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

import msgspec

from simulator._market import Coin, Listing, Market
from simulator._okx_rest import routes
from simulator._okx_streams import BARS, LOT_DECIMALS, Instrument, index_feed, liquidation_feed
from simulator._venue import Answer, Desk, Feed, Limits, Query, Session, Venue

_QUOTE = "USDT"
_INVERSE = {"XRP", "DOT"}
_SIZES = {
    "BTC": 0.01, "ETH": 0.1, "SOL": 1, "DOGE": 1_000, "ADA": 100, "LTC": 1, "BCH": 0.1, "LINK": 1, "AVAX": 1,
    "TRX": 1_000, "UNI": 1, "AAVE": 0.1, "NEAR": 10, "ETC": 10, "ATOM": 1, "FIL": 0.1, "XLM": 100, "SHIB": 1_000_000,
}  # fmt: skip
"""Base units of a contract, as OKX has them; others are worth a few dollars."""
_STATES = ("funding-rate", "mark-price", "open-interest")


def _spot(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        scale = math.floor(math.log10(coin.price))
        prices, quantities = min(9, max(1, 5 - scale)), min(8, max(0, scale + 2))
        found.append(Listing("okx", f"{coin.name}-{_QUOTE}", coin, _QUOTE, _QUOTE, prices, quantities))
    return found


def _swaps(market: Market) -> Sequence[Listing]:
    return [_inverse(coin) if coin.name in _INVERSE else _linear(coin) for coin in market.coins]


def _linear(coin: Coin) -> Listing:
    scale = math.floor(math.log10(coin.price))
    contract = round(math.log10(_SIZES.get(coin.name, 10.0 ** (1 - scale))))
    lot = contract - LOT_DECIMALS
    return Listing(
        "okx_futures", f"{coin.name}-{_QUOTE}-SWAP", coin, _QUOTE, _QUOTE, min(9, max(1, 5 - scale)), max(0, -lot),
        step=10 ** max(0, lot), perpetual=True,
    )  # fmt: skip


def _inverse(coin: Coin) -> Listing:
    scale = math.floor(math.log10(coin.price))
    return Listing(
        "okx_futures", f"{coin.name}-USD-SWAP", coin, "USD", coin.name, min(9, max(1, 5 - scale)), 0,
        step=100 if coin.name == "BTC" else 10, perpetual=True, inverse=True,
    )  # fmt: skip


def _instrument(desk: Desk, symbol: str) -> Instrument | None:
    tape = desk.tapes.get(symbol)
    return None if tape is None else desk.remember(symbol, lambda: Instrument(tape))


class OkxSession(Session):
    """One connection; ``business`` has the candles and the single fills, the other socket the rest."""

    _made = count()

    def __init__(self, desk: Desk, business: bool) -> None:
        self._desk, self._business = desk, business
        self._name = f"{next(self._made):08x}"
        self._keys: dict[str, str] = {}

    def received(self, frame: str) -> Answer:
        """One request; the answer to a text ping is a text."""
        if frame == "ping":
            return Answer([b"pong"])
        try:
            request = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            return self._refused("", "60012", f"Invalid request: {frame[:100]}")
        if not isinstance(request, dict) or request.get("op") not in ("subscribe", "unsubscribe"):
            return self._refused("", "60012", "Invalid request")
        name, args = str(request.get("id", "")), request.get("args")
        if not isinstance(args, list) or not all(isinstance(arg, dict) for arg in args):
            return self._refused(name, "60012", "Invalid request: args")
        answer = Answer([], [], [])
        for arg in args:
            self._obey(request["op"], name, arg, answer)
        return answer

    def _obey(self, op: str, name: str, arg: dict[str, Any], answer: Any) -> None:
        quoted = msgspec.json.encode(arg, order="sorted").decode()
        known = self._keys.pop(quoted, "")
        if known:  # asked again: it begins anew
            answer.remove.append(known)
        if op == "subscribe":
            # Keys differ from connection to connection where each has its own snapshot.
            key = f"{quoted} {self._name}-{next(self._made)}"
            found = self._find(key, str(arg.get("channel", "")), arg)
            if found is None:
                about = ",".join(f"{word}:{value}" for word, value in arg.items())
                text = f"Wrong URL or {about} doesn't exist. Please use the correct URL, channel and parameters."
                answer.replies += self._refused(name, "60018", text).replies
                return
            self._keys[quoted] = key
            answer.add.append(found[1])
        answer.replies.append(self._said(name, {"event": op, "arg": arg}))
        if op == "subscribe" and found and found[0]:
            answer.replies.append(found[0])

    def _find(self, key: str, channel: str, arg: dict[str, Any]) -> tuple[bytes, Feed] | None:
        """What is sent at once, and the feed."""
        business = channel == "trades-all" or channel.startswith("candle")
        if business != self._business:
            return None
        desk, of = self._desk, str(arg.get("instId", ""))
        if channel == "liquidation-orders":
            swaps = [made for symbol in desk.tapes if (made := _instrument(desk, symbol)) is not None and made.contract]
            market = str(arg.get("instType", ""))
            return (b"", liquidation_feed(key, market, swaps if market == "SWAP" else []))
        if channel == "index-tickers":
            its = _instrument(desk, f"{of}-SWAP")
            return (b"", index_feed(key, of, its)) if its is not None else None
        its = _instrument(desk, of)
        if its is None or (channel in _STATES and not its.contract):
            return None
        return self._own(key, channel, its)

    def _own(self, key: str, channel: str, its: Instrument) -> tuple[bytes, Feed] | None:
        now = self._desk.now_ms()
        if channel in _STATES:
            return its.state(key, channel, now)
        if channel == "books":
            return its.books(key, now)
        if channel == "books5":
            return (b"", its.tops(key))
        if channel == "trades-all":
            return (b"", its.trades(key))
        return (b"", its.candles(key, channel)) if channel.removeprefix("candle") in BARS else None

    def _refused(self, name: str, code: str, message: str) -> Answer:
        return Answer([self._said(name, {"event": "error", "code": code, "msg": message})])

    def _said(self, name: str, what: dict[str, Any]) -> bytes:
        return msgspec.json.encode({**({"id": name} if name else {}), **what, "connId": self._name})

    def shutdown(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - it names no time
        """The notice before an upgrade."""
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        return self._said("", {"event": "notice", "code": "64008", "msg": text})


def _connect(desk: Desk, path: str, _: Query) -> OkxSession | None:
    socket = path.removeprefix("/ws/v5/")
    return OkxSession(desk, socket == "business") if socket in ("public", "business") else None


def _too_many(_: int, __: int) -> dict[str, Any]:
    return {"code": "50011", "msg": "Too Many Requests", "data": []}


_LIMITS = Limits(1_200, "", _too_many, frames_a_second=10, connections_in_5m=900, ping_s=20.0, pong_s_max=30.0)
_MISSING = {"code": "404", "msg": "Invalid request path", "data": []}
_venue = partial(Venue, connect=_connect, routes=routes(_instrument), unit="fill", limits=_LIMITS, missing=_MISSING)
VENUES = (_venue("okx", _spot), _venue("okx_futures", _swaps))
