"""Hyperliquid: perpetuals in USDC, one subscription a message, and every REST question a POST to ``/info``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._candles import START_MS, candles, floor, following
from simulator._hyperliquid_streams import INTERVALS, RECENT, Instrument, framed
from simulator._market import Coin, Listing, Market
from simulator._venue import BODY, Answer, Desk, Feed, Limits, Query, RequestRefused, Route, Session, Venue

_PRICE_DECIMALS, _DIGITS = 6, 5
_CANDLES_MAX, _FUNDINGS_MAX = 5_000, 500


def _listings(market: Market) -> Sequence[Listing]:
    found = []
    for coin in market.coins:
        # Prices have at most five digits and six decimals: cheap coins are listed by the thousand.
        sold = coin if coin.price >= 0.001 else Coin(f"k{coin.name}", coin.price * 1_000, coin.share)
        scale = math.floor(math.log10(sold.price))
        quantities = min(5, max(0, scale + 1))
        prices = _PRICE_DECIMALS - quantities
        tick = 10 ** max(0, prices - (_DIGITS - 1 - scale))
        found.append(
            Listing("hyperliquid", sold.name, sold, "USDC", "USDC", prices, quantities, tick=tick, perpetual=True,
                    funding_hours=1)
        )  # fmt: skip
    return found


def _instrument(desk: Desk, coin: str) -> Instrument | None:
    tape = desk.tapes.get(coin)
    return None if tape is None else desk.remember(coin, lambda: Instrument(tape))


class _Session(Session):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._topics: set[str] = set()

    def received(self, frame: str) -> Answer:
        """One request."""
        try:
            request = msgspec.json.decode(frame, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return _refused(f"Error parsing JSON into valid websocket request: {frame[:200]}")
        method, asked = request.get("method"), request.get("subscription")
        if method == "ping":
            return Answer([b'{"channel":"pong"}'])
        if method not in ("subscribe", "unsubscribe") or not isinstance(asked, dict):
            return _refused(f"Error parsing JSON into valid websocket request: {frame[:200]}")
        key = msgspec.json.encode(asked, order="sorted").decode()
        quoted = msgspec.json.encode(asked).decode()
        done = framed("subscriptionResponse", request)
        if method == "unsubscribe":
            if key not in self._topics:
                return _refused(f"Already unsubscribed: {quoted}")
            self._topics.discard(key)
            return Answer([done], remove=[key])
        if key in self._topics:
            return _refused(f"Already subscribed: {quoted}")
        now_ms = self._desk.now_ms()
        feed, replies = self._find(key, asked, now_ms), [done]
        if feed is None:
            return _refused(f"Invalid subscription {quoted}")
        self._topics.add(key)
        if feed.channel == "trades" and (instrument := _instrument(self._desk, feed.symbol)) is not None:
            replies.append(framed("trades", instrument.recent(now_ms, RECENT)))
        return Answer(replies, add=[feed])

    def _find(self, key: str, asked: dict[str, Any], now_ms: int) -> Feed | None:
        instrument = _instrument(self._desk, str(asked.get("coin")))
        if instrument is None:
            return None
        match asked.get("type"):
            case "trades":
                return instrument.trades(key, now_ms)
            case "l2Book":
                return instrument.books(key)
            case "activeAssetCtx":
                return instrument.contexts(key)
            case "candle" if asked.get("interval") in INTERVALS:
                return instrument.candles(key, asked["interval"])
        return None


def _refused(text: str) -> Answer:
    return Answer([framed("error", text)])


# --- REST ------------------------------------------------------------------------------------------------------
def _asked(query: Query) -> dict[str, Any]:
    try:
        return msgspec.json.decode(query.get(BODY, ""), type=dict[str, Any])
    except msgspec.MsgspecError:
        raise RequestRefused("Failed to deserialize the JSON body into the target type", 422) from None


def _found(desk: Desk, asked: dict[str, Any]) -> Instrument:
    instrument = _instrument(desk, str(asked.get("coin")))
    if instrument is None:
        raise RequestRefused(b"null", 500)
    return instrument


async def _info(desk: Desk, query: Query) -> Any:
    asked, now = _asked(query), desk.now_ms()
    match asked.get("type"):
        case "meta":
            return _meta(desk)
        case "metaAndAssetCtxs":
            instruments = [_found(desk, {"coin": coin}) for coin in desk.tapes]
            return [_meta(desk), [instrument.context(now) for instrument in instruments]]
        case "l2Book":
            return _found(desk, asked).depth(now // 100 * 100)
        case "recentTrades":
            return _found(desk, asked).recent(now, RECENT)
        case "candleSnapshot":
            return await _candles(desk, asked.get("req", {}), now)
        case "fundingHistory":
            return _fundings(_found(desk, asked), asked, now)
    raise RequestRefused("Failed to deserialize the JSON body into the target type", 422)


def _meta(desk: Desk) -> dict[str, Any]:
    return {
        "universe": [
            {"szDecimals": tape.listing.quantity_decimals, "name": coin, "maxLeverage": 20}
            for coin, tape in desk.tapes.items()
        ]
    }


async def _candles(desk: Desk, asked: dict[str, Any], now: int) -> list[dict[str, Any]]:
    """The latest 5,000 of those that open from ``startTime`` to ``endTime``; the last may be forming."""
    instrument, interval = _found(desk, asked), asked.get("interval")
    if interval not in INTERVALS:
        raise RequestRefused("Failed to deserialize the JSON body into the target type", 422)
    start, end = int(asked.get("startTime", 0)), min(int(asked.get("endTime", now)), now)
    opens: list[int] = []
    open_ms = floor(interval, end)
    while open_ms >= max(start, START_MS) and len(opens) < _CANDLES_MAX:
        opens.append(open_ms)
        open_ms = floor(interval, open_ms - 1)
    made = await candles(instrument.tape, interval, opens[::-1], now, desk.breathe)
    return [instrument.candle(one, interval) for one in made if following(interval, one.open_ms) > start]


def _fundings(instrument: Instrument, asked: dict[str, Any], now: int) -> list[dict[str, Any]]:
    hour, tape = derivatives.HOUR_MS, instrument.tape
    first, last = -(-max(int(asked.get("startTime", 0)), START_MS) // hour), min(int(asked.get("endTime", now)), now)
    return [
        {"coin": instrument.coin, "fundingRate": f"{derivatives.funding_rate(tape, place * hour):.10f}",
         "premium": "0.0", "time": place * hour}
        for place in range(first, min(last // hour, first + _FUNDINGS_MAX - 1) + 1)
    ]  # fmt: skip


def _weight(query: Query) -> int:
    return 2 if '"l2Book"' in query.get(BODY, "") else 20


def _connect(desk: Desk, path: str, _: Query) -> Session | None:
    return _Session(desk) if path == "/ws" else None


_LIMITS = Limits(1_200, frames_a_second=34, connections_in_5m=150)
VENUES = (Venue("hyperliquid", _listings, _connect, {"/info": Route(_info, _weight)}, "fill", _LIMITS),)
