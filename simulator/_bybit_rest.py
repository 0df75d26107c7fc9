"""Bybit's REST endpoints below ``/v5/market``: bodies with a code, errors with status 200, newest rows first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from simulator import _derivatives as derivatives
from simulator._bybit_streams import INTERVALS, Instrument
from simulator._candles import INTERVALS as LENGTHS
from simulator._candles import START_MS, candles, floor, id_at, preceding
from simulator._tape import START
from simulator._text import decimal
from simulator._venue import Desk, Query, RequestRefused, Route

_PERIODS = {"5min": "5m", "15min": "15m", "30min": "30m", "1h": "1h", "4h": "4h", "1d": "1d"}


def routes(find: Callable[[Desk, str], Instrument | None]) -> dict[str, Route]:
    """By path."""

    def answered(result: Callable[[Desk, Query], Awaitable[Mapping[str, Any]]]) -> Route:
        async def answer(desk: Desk, query: Query) -> dict[str, Any]:
            made = {"category": query.get("category", ""), **await result(desk, query)}
            return {"retCode": 0, "retMsg": "OK", "result": made, "retExtInfo": {}, "time": desk.now_ms()}

        return Route(answer)

    def one(desk: Desk, query: Query) -> Instrument:
        found = find(desk, query.get("symbol", ""))
        if found is None or found.category != query.get("category"):
            raise refuse(10001, "Not supported symbols")
        return found

    def of_one(result: Callable[[Desk, Instrument, Query], Awaitable[Mapping[str, Any]]]) -> Route:
        return answered(lambda desk, query: result(desk, one(desk, query), query))

    def several(desk: Desk, query: Query) -> list[Instrument]:
        if query.get("category") not in ("spot", "linear", "inverse"):
            raise refuse(10001, "Illegal category")
        if "symbol" in query:
            return [one(desk, query)]
        found = [made for symbol in desk.tapes if (made := find(desk, symbol)) is not None]
        return [made for made in found if made.category == query["category"]]

    async def listed(desk: Desk, query: Query) -> Mapping[str, Any]:
        found, limit = several(desk, query), min(1_000, whole(query, "limit", 500))
        if query["category"] == "spot":
            return {"list": [_listed(its) for its in found]}
        start = whole(query, "cursor", 0)
        more = str(start + limit) if start + limit < len(found) else ""
        return {"list": [_listed(its) for its in found[start : start + limit]], "nextPageCursor": more}

    async def tickers(desk: Desk, query: Query) -> Mapping[str, Any]:
        return {"list": [its.ticker(desk.now_ms()) for its in several(desk, query)]}

    async def time(desk: Desk, _: Query) -> Mapping[str, Any]:
        return {"timeSecond": str(desk.now_ms() // 1_000), "timeNano": str(desk.now_ms() * 1_000_000)}

    return {
        "/v5/market/time": answered(time),
        "/v5/market/instruments-info": answered(listed),
        "/v5/market/tickers": answered(tickers),
        "/v5/market/kline": of_one(_candles),
        "/v5/market/orderbook": of_one(_book),
        "/v5/market/recent-trade": of_one(_recent),
        "/v5/market/open-interest": of_one(_interests),
        "/v5/market/funding/history": of_one(_settled),
    }


def refuse(code: int, message: str) -> RequestRefused:
    """Bybit's error body, which comes with status 200."""
    return RequestRefused({"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 0}, 200)


def whole(query: Query, name: str, default: int) -> int:
    """A parameter that is a non-negative integer."""
    text = query.get(name, "") or str(default)
    if not text.isdecimal() or len(text) > 19:
        raise refuse(10001, f"params error: {name} invalid")
    return int(text)


def _listed(its: Instrument) -> dict[str, Any]:
    listing = its.listing
    tick, step = decimal(listing.tick, listing.price_decimals), decimal(listing.step, listing.quantity_decimals)
    common = {"symbol": its.symbol, "status": "Trading", "baseCoin": listing.coin.name, "quoteCoin": listing.quote,
              "priceFilter": {"tickSize": tick, "minPrice": tick}}  # fmt: skip
    if its.category == "spot":
        return {**common, "lotSizeFilter": {"basePrecision": step, "minOrderQty": step}, "innovation": "0"}
    return {**common, "contractType": "InversePerpetual" if listing.inverse else "LinearPerpetual",
            "settleCoin": listing.settle, "launchTime": str(START_MS), "deliveryTime": "0",
            "fundingInterval": derivatives.funding_hours(its.tape) * 60,
            "lotSizeFilter": {"qtyStep": step, "minOrderQty": step}}  # fmt: skip


async def _candles(desk: Desk, its: Instrument, query: Query) -> Mapping[str, Any]:
    """Open times from ``start`` to ``end``, the latest of them; the newest may be forming."""
    interval = INTERVALS.get(query.get("interval", ""))
    if interval is None:
        raise refuse(10001, "Invalid period!")
    now, limit = desk.now_ms(), min(1_000, max(1, whole(query, "limit", 200)))
    first, opens = max(START_MS, whole(query, "start", 0)), [floor(interval, min(now, whole(query, "end", now)))]
    while len(opens) < limit and opens[-1] > first:
        opens.append(preceding(interval, opens[-1]))
    wanted = sorted(open_ms for open_ms in opens if open_ms >= first)
    made = await candles(its.tape, interval, wanted, now, desk.breathe)
    return {"symbol": its.symbol, "list": [its.row(one) for one in reversed(made)]}


async def _book(desk: Desk, its: Instrument, query: Query) -> Mapping[str, Any]:
    now = desk.now_ms() // 100 * 100
    bids, asks = its.book.at(now, min(200, max(1, whole(query, "limit", 25))))
    return {"s": its.symbol, "b": its.levels(bids), "a": its.levels(asks), "ts": now, "u": now // 100}


async def _recent(desk: Desk, its: Instrument, query: Query) -> Mapping[str, Any]:
    """The latest, no further back than 60 on spot and 1,000 on contracts; there is no cursor."""
    most = 60 if its.category == "spot" else 1_000
    last, limit = id_at(its.tape, desk.now_ms()), min(most, max(1, whole(query, "limit", min(most, 500))))
    first, fills, found = max(1, last - limit + 1), its.tape.fills, []
    for _, columns in its.tape.minutes(START + (first - 1) // fills, START + (last - 1) // fills):
        for number, row in enumerate(columns.rows, columns.first_id):
            if first <= number <= last:
                one = its.fill(number, row)
                made = {"execId": one["i"], "symbol": its.symbol, "price": one["p"], "size": one["v"], "side": one["S"]}
                found.append({**made, "time": str(one["T"]), "isBlockTrade": False, "isRPITrade": False})
        await desk.breathe()
    return {"list": found[::-1]}


async def _interests(desk: Desk, its: Instrument, query: Query) -> Mapping[str, Any]:
    interval = _PERIODS.get(query.get("intervalTime", ""))
    if interval is None or its.category == "spot":
        raise refuse(10001, "intervalTime is invalid")
    length, limit = LENGTHS[interval], min(200, max(1, whole(query, "limit", 50)))
    last = min(desk.now_ms(), whole(query, "endTime", desk.now_ms())) // length - whole(query, "cursor", 0)
    first = max(-(-max(START_MS, whole(query, "startTime", 0)) // length), last - limit + 1)
    rows = []
    for place in range(last, first - 1, -1):
        derived = its.derived(place * length)
        names = ("openInterest", "singleOpenInterest")
        rows.append({**{name: derived[name] for name in names}, "timestamp": str(place * length)})
    more = str(whole(query, "cursor", 0) + limit) if len(rows) == limit else ""
    return {"symbol": its.symbol, "list": rows, "nextPageCursor": more}


async def _settled(desk: Desk, its: Instrument, query: Query) -> Mapping[str, Any]:
    """Settlements; a start without an end is an error."""
    if its.category == "spot" or ("startTime" in query and "endTime" not in query):
        raise refuse(10001, "The endTime is required")
    period = derivatives.funding_hours(its.tape) * derivatives.HOUR_MS
    last = min(desk.now_ms(), whole(query, "endTime", desk.now_ms())) // period
    limit = min(200, max(1, whole(query, "limit", 200)))
    first = max(-(-max(START_MS, whole(query, "startTime", 0)) // period), last - limit + 1)
    rates = [
        (place * period, derivatives.funding_rate(its.tape, place * period)) for place in range(last, first - 1, -1)
    ]
    named = [
        {"symbol": its.symbol, "fundingRate": f"{rate:.8f}", "fundingRateTimestamp": str(end)} for end, rate in rates
    ]
    return {"list": named}
