"""Bitget's REST endpoints below ``/api/v2``: lists, tickers, candles, fills, funding, open interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator import _derivatives as derivatives
from simulator._bitget_streams import INTERVALS, TRADE_ID, Instrument, instrument
from simulator._candles import START_MS, candles, floor, following, id_at
from simulator._market import Listing
from simulator._text import decimal
from simulator._venue import Desk, Query, RequestRefused, Route

_FILLS_MAX, _CANDLES_MAX, _FUNDINGS_MAX = 1_000, 1_000, 100


def _answer(desk: Desk, data: Any) -> dict[str, Any]:
    return {"code": "00000", "msg": "success", "requestTime": desk.now_ms(), "data": data}


def _refuse(code: str, message: str) -> RequestRefused:
    return RequestRefused({"code": code, "msg": message, "requestTime": 0, "data": None})


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise _refuse("40017", f"Parameter verification failed {name}")
    return int(text)


def _found(desk: Desk, query: Query) -> Instrument:
    found = instrument(desk, query.get("symbol", ""))
    if found is None or query.get("productType", found.market).upper() != found.market:
        raise _refuse("40034", f"Parameter {query.get('symbol')} does not exist")
    return found


def _of_type(desk: Desk, query: Query) -> Sequence[Instrument]:
    found = [one for name in desk.tapes if (one := instrument(desk, name)) is not None]
    return [one for one in found if query.get("productType", one.market).upper() == one.market]


async def _symbols(desk: Desk, _: Query) -> Any:
    return _answer(desk, [_pair(tape.listing) for tape in desk.tapes.values()])


def _pair(listing: Listing) -> dict[str, str]:
    return {
        "symbol": listing.symbol, "baseCoin": listing.coin.name, "quoteCoin": listing.quote, "status": "online",
        "pricePrecision": str(listing.price_decimals), "quantityPrecision": str(listing.quantity_decimals),
        "quotePrecision": "8", "minTradeUSDT": "1", "minTradeAmount": "0",
    }  # fmt: skip


async def _contracts(desk: Desk, query: Query) -> Any:
    return _answer(desk, [_contract(one) for one in _of_type(desk, query)])


def _contract(one: Instrument) -> dict[str, Any]:
    listing = one.tape.listing
    step = decimal(listing.step, listing.quantity_decimals)
    return {
        "symbol": one.name, "baseCoin": listing.coin.name, "quoteCoin": listing.quote,
        "supportMarginCoins": [listing.settle], "symbolType": "perpetual", "symbolStatus": "normal",
        "pricePlace": str(listing.price_decimals), "priceEndStep": str(listing.tick),
        "volumePlace": str(listing.quantity_decimals), "sizeMultiplier": step, "minTradeNum": step,
        "offTime": "-1", "deliveryTime": "", "fundInterval": str(derivatives.funding_hours(one.tape)),
    }  # fmt: skip


async def _tickers(desk: Desk, query: Query) -> Any:
    return _answer(desk, [one.ticker(desk.now_ms()) for one in _of_type(desk, query)])


async def _candles(desk: Desk, query: Query) -> Any:
    """Those that open from ``startTime`` to ``endTime``, oldest first; the last may be forming."""
    one, name = _found(desk, query), query.get("granularity", "")
    # Spot's REST spells minutes and hours in its own way.
    minutes = {"1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "1h": "1h", "4h": "4h"}
    interval = INTERVALS.get(name) or minutes.get(name)
    if interval is None:
        raise _refuse("400171", "Parameter verification failed granularity")
    now, limit = desk.now_ms(), min(_CANDLES_MAX, _whole(query, "limit", 100))
    start, open_ms = _whole(query, "startTime", 0), floor(interval, min(_whole(query, "endTime", now), now))
    opens: list[int] = []
    while open_ms >= max(start, START_MS) and len(opens) < limit:
        opens.append(open_ms)
        open_ms = floor(interval, open_ms - 1)
    made = await candles(one.tape, interval, opens[::-1], now, desk.breathe)
    return _answer(desk, [one.row(row) for row in made if following(interval, row.open_ms) > start])


async def _fills(desk: Desk, query: Query) -> Any:
    """The latest from ``startTime`` to ``endTime``, newest first; before ``idLessThan`` where that is given."""
    one, limit = _found(desk, query), min(_FILLS_MAX, _whole(query, "limit", 500))
    known = id_at(one.tape, desk.now_ms())
    last = min(known, _whole(query, "idLessThan", TRADE_ID + known + 1) - TRADE_ID - 1)
    if "endTime" in query:
        last = min(last, id_at(one.tape, _whole(query, "endTime", 0)))
    first = max(last - limit, id_at(one.tape, _whole(query, "startTime", START_MS) - 1))
    return _answer(desk, [one.print(n) | {"symbol": one.name} for n in range(last, first, -1)])


async def _interest(desk: Desk, query: Query) -> Any:
    one, now = _found(desk, query), desk.now_ms()
    size = one.texts.quantity(derivatives.open_interest(one.tape, now))
    return _answer(desk, {"openInterestList": [{"symbol": one.name, "size": size}], "ts": str(now)})


async def _fundings(desk: Desk, query: Query) -> Any:
    """Newest first, by the page."""
    one, size = _found(desk, query), min(_FUNDINGS_MAX, _whole(query, "pageSize", 20))
    period = derivatives.funding_hours(one.tape) * derivatives.HOUR_MS
    last = desk.now_ms() // period - (_whole(query, "pageNo", 1) - 1) * size
    rows = [
        {"symbol": one.name, "fundingRate": f"{derivatives.funding_rate(one.tape, place * period):.8f}",
         "fundingTime": str(place * period)}
        for place in range(last, max(START_MS // period, last - size), -1)
    ]  # fmt: skip
    return _answer(desk, rows)


async def _time(desk: Desk, _: Query) -> Any:
    return _answer(desk, {"serverTime": str(desk.now_ms())})


_SPOT, _MIX, _TIME = "/api/v2/spot", "/api/v2/mix/market", "/api/v2/public/time"
SPOT_ROUTES = {
    _TIME: Route(_time),
    f"{_SPOT}/public/symbols": Route(_symbols),
    f"{_SPOT}/market/tickers": Route(_tickers),
    f"{_SPOT}/market/candles": Route(_candles),
    f"{_SPOT}/market/history-candles": Route(_candles),
    f"{_SPOT}/market/fills": Route(_fills),
    f"{_SPOT}/market/fills-history": Route(_fills),
}
FUTURES_ROUTES = {
    _TIME: Route(_time),
    f"{_MIX}/contracts": Route(_contracts),
    f"{_MIX}/tickers": Route(_tickers),
    f"{_MIX}/candles": Route(_candles),
    f"{_MIX}/history-candles": Route(_candles),
    f"{_MIX}/fills": Route(_fills),
    f"{_MIX}/fills-history": Route(_fills),
    f"{_MIX}/open-interest": Route(_interest),
    f"{_MIX}/history-fund-rate": Route(_fundings),
}
