"""OKX's REST endpoints below ``/api/v5``: bodies with a code, errors with status 200, newest rows first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from simulator import _derivatives as derivatives
from simulator._candles import DAY_MS, INTERVALS, START_MS, candle, candles, floor, following, id_at
from simulator._okx_streams import BARS, LOT_DECIMALS, Instrument
from simulator._tape import START
from simulator._text import decimal
from simulator._venue import Desk, Query, RequestRefused, Route

_PERIODS = {"5m": "5m", "1H": "1h", "1D": "1d"}


def routes(find: Callable[[Desk, str], Instrument | None]) -> dict[str, Route]:
    """By path."""

    def one(desk: Desk, query: Query) -> Instrument:
        found = find(desk, query.get("instId", ""))
        if found is None:
            raise refuse("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return found

    def several(desk: Desk, query: Query) -> list[Instrument]:
        if "instId" in query:
            return [one(desk, query)]
        found = [made for symbol in desk.tapes if (made := find(desk, symbol)) is not None]
        return [made for made in found if made.market == query.get("instType", made.market)]

    def answered(rows: Callable[[Desk, Query], Awaitable[list[Any]]]) -> Route:
        async def answer(desk: Desk, query: Query) -> dict[str, Any]:
            return {"code": "0", "msg": "", "data": await rows(desk, query)}

        return Route(answer)

    def each(row: Callable[[Instrument, int], Any]) -> Route:
        async def rows(desk: Desk, query: Query) -> list[Any]:
            return [row(its, desk.now_ms()) for its in several(desk, query)]

        return answered(rows)

    def of_one(rows: Callable[[Desk, Instrument, Query], Awaitable[list[Any]]]) -> Route:
        return answered(lambda desk, query: rows(desk, one(desk, query), query))

    async def time(desk: Desk, _: Query) -> list[Any]:
        return [{"ts": str(desk.now_ms())}]

    return {
        "/api/v5/public/time": answered(time),
        "/api/v5/public/instruments": each(_listed),
        "/api/v5/public/open-interest": each(Instrument.interest),
        "/api/v5/public/mark-price": each(Instrument.mark),
        "/api/v5/public/funding-rate": each(Instrument.funding_rate),
        "/api/v5/public/funding-rate-history": of_one(_settled),
        "/api/v5/rubik/stat/contracts/open-interest-history": of_one(_interests),
        "/api/v5/market/tickers": each(_ticker),
        "/api/v5/market/books": of_one(_book),
        "/api/v5/market/candles": of_one(_candles),
        "/api/v5/market/history-candles": of_one(_candles),
        "/api/v5/market/trades": of_one(_recent),
        "/api/v5/market/history-trades": of_one(_historical),
    }


def refuse(code: str, message: str) -> RequestRefused:
    """OKX's error body, which comes with status 200."""
    return RequestRefused({"code": code, "msg": message, "data": []}, 200)


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, "") or str(default)
    if not text.isdecimal() or len(text) > 19:
        raise refuse("51000", f"Parameter {name} error")
    return int(text)


def _listed(its: Instrument, _: int) -> dict[str, str]:
    listing = its.listing
    tick, step = decimal(listing.tick, listing.price_decimals), decimal(listing.step, listing.quantity_decimals)
    common = {"instId": its.symbol, "instType": its.market, "state": "live", "tickSz": tick, "listTime": str(START_MS)}
    if not its.contract:
        return {**common, "baseCcy": listing.coin.name, "quoteCcy": listing.quote, "lotSz": step, "minSz": step,
                "ctVal": "", "ctMult": "", "ctValCcy": "", "settleCcy": "", "uly": "", "expTime": ""}  # fmt: skip
    pair = f"{listing.coin.name}-{listing.quote}"
    lot = "1" if listing.inverse else decimal(1, LOT_DECIMALS)
    return {**common, "baseCcy": "", "quoteCcy": "", "settleCcy": listing.settle, "uly": pair, "instFamily": pair,
            "ctType": "inverse" if listing.inverse else "linear", "ctVal": its.contract_value, "ctMult": "1",
            "ctValCcy": listing.quote if listing.inverse else listing.coin.name, "lotSz": lot, "minSz": lot,
            "expTime": ""}  # fmt: skip


def _ticker(its: Instrument, now: int) -> dict[str, str]:
    made = candle(its.tape, now - DAY_MS, now, now)
    if made is None:
        return {"instId": its.symbol, "instType": its.market, "last": "", "volCcy24h": "0", "vol24h": "0"}
    row = its.row(made, closed=False)
    names = ("open24h", "high24h", "low24h", "last", "vol24h", "volCcy24h")
    return {"instId": its.symbol, "instType": its.market, **dict(zip(names, row[1:7], strict=True)), "ts": str(now)}


async def _book(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    now = desk.now_ms() // 100 * 100
    bids, asks = its.book.at(now, min(400, max(1, _whole(query, "sz", 1))))
    return [{"asks": its.levels(asks), "bids": its.levels(bids), "ts": str(now)}]


async def _candles(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    """Opened before ``after`` and after ``before``: the words mean what stands further down the list."""
    interval = BARS.get(query.get("bar", "1m"))
    if interval is None:
        raise refuse("51000", "Parameter bar error")
    now, limit = desk.now_ms(), min(300, max(1, _whole(query, "limit", 100)))
    open_ms = floor(interval, min(now, _whole(query, "after", now + 1) - 1))
    first = max(START_MS, _whole(query, "before", 0) + 1)
    opens: list[int] = []
    while open_ms >= first and len(opens) < limit:
        opens.append(open_ms)
        open_ms = floor(interval, open_ms - 1)
    made = await candles(its.tape, interval, opens[::-1], now, desk.breathe)
    return [its.row(one, closed=following(interval, one.open_ms) <= now) for one in reversed(made)]


async def _recent(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    return await _trades(desk, its, id_at(its.tape, desk.now_ms()), min(500, max(1, _whole(query, "limit", 100))))


async def _historical(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    """By id (``type`` 1, before the trade ``after``) or time (``type`` 2, before ``after``)."""
    known, limit = id_at(its.tape, desk.now_ms()), min(100, max(1, _whole(query, "limit", 100)))
    if query.get("type", "1") == "2":
        return await _trades(
            desk, its, min(known, id_at(its.tape, _whole(query, "after", desk.now_ms() + 1) - 1)), limit
        )
    return await _trades(desk, its, min(known, _whole(query, "after", known + 1) - 1), limit)


async def _trades(desk: Desk, its: Instrument, last: int, limit: int) -> list[Any]:
    first, found = max(1, last - limit + 1), []
    fills = its.tape.fills
    for _, columns in its.tape.minutes(START + (first - 1) // fills, START + (last - 1) // fills):
        for name, row in enumerate(columns.rows, columns.first_id):
            if first <= name <= last:
                found.append(its.trade(name, row))
        await desk.breathe()
    return found[::-1]


async def _settled(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    period = derivatives.funding_hours(its.tape) * derivatives.HOUR_MS
    limit = min(400, max(1, _whole(query, "limit", 100)))
    last = min(desk.now_ms(), _whole(query, "after", desk.now_ms() + 1) - 1) // period
    first = max(-(-START_MS // period), (_whole(query, "before", 0) // period) + 1, last - limit + 1)
    about = {"instId": its.symbol, "instType": its.market, "method": "current_period"}
    rates = {place * period: derivatives.funding_rate(its.tape, place * period) for place in range(last, first - 1, -1)}
    return [
        {**about, "fundingTime": str(end), "fundingRate": f"{rate:.8f}", "realizedRate": f"{rate:.8f}"}
        for end, rate in rates.items()
    ]


async def _interests(desk: Desk, its: Instrument, query: Query) -> list[Any]:
    """Rows of time, contracts, coins, dollars."""
    interval = _PERIODS.get(query.get("period", "5m"))
    if interval is None:
        raise refuse("51000", "Parameter period error")
    length, limit = INTERVALS[interval], min(100, max(1, _whole(query, "limit", 100)))
    last = min(desk.now_ms(), _whole(query, "end", desk.now_ms())) // length
    first = max(_whole(query, "begin", 0) // length, START_MS // length, last - limit + 1)
    rows = [its.interest(place * length) for place in range(last, first - 1, -1)]
    return [[row["ts"], row["oi"], row["oiCcy"], row["oiUsd"]] for row in rows]
