"""Binance's REST endpoints that only its futures have: funding, marks and open interest."""

from __future__ import annotations

from typing import Any

from simulator import _derivatives as derivatives
from simulator._binance_requests import refuse, whole
from simulator._binance_rest import History
from simulator._binance_streams import Instrument
from simulator._candles import DAY_MS, INTERVALS, START_MS
from simulator._text import decimal
from simulator._venue import Desk, Query, Route

_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")


def routes(history: History, prefix: str) -> dict[str, Route]:
    """By path below the market's own ``prefix``."""

    async def funding_rate(desk: Desk, query: Query) -> list[Any]:
        limit = history.limit(query, 100, 1_000)
        if "symbol" in query:
            return _settled(history.instrument(desk, query), desk.now_ms(), query, limit)
        found = [row for one in _all(history, desk) for row in _settled(one, desk.now_ms(), query, 3)]
        return sorted(found, key=lambda row: row["fundingTime"])[-limit:]

    async def funding_info(desk: Desk, _: Query) -> list[Any]:
        # As on the exchange, a symbol with the usual eight hours may be missing here.
        return [_interval(one) for one in _all(history, desk) if derivatives.funding_hours(one.tape) != 8]

    async def premium_index(desk: Desk, query: Query) -> Any:
        if "symbol" in query:
            return _premium(history.instrument(desk, query), desk.now_ms())
        return [_premium(one, desk.now_ms()) for one in _all(history, desk)]

    async def open_interest(desk: Desk, query: Query) -> dict[str, Any]:
        instrument, now = history.instrument(desk, query), desk.now_ms()
        steps = derivatives.open_interest(instrument.tape, now)
        return {"symbol": instrument.symbol, "openInterest": instrument.texts.quantity(steps), "time": now}

    async def historical_trades(desk: Desk, query: Query) -> list[Any]:
        history.instrument(desk, query)
        raise refuse(-2014, "API-key format invalid.", 401)  # it wants a key, and the simulator gives none

    return {
        f"{prefix}/fundingRate": Route(funding_rate),
        f"{prefix}/fundingInfo": Route(funding_info, 0),
        f"{prefix}/premiumIndex": Route(premium_index, lambda query: 1 if "symbol" in query else 10),
        f"{prefix}/openInterest": Route(open_interest),
        f"{prefix}/historicalTrades": Route(historical_trades, 200),
    }


def interest_history(dollars: History, coins: History) -> dict[str, Route]:
    """One path on both hosts: by symbol, or by pair where contracts are settled in their coin."""

    async def answer(desk: Desk, query: Query) -> list[Any]:
        if "pair" not in query:
            return _interest_history(dollars, desk, query)
        if query.get("contractType") != "PERPETUAL":
            raise refuse(-4089, "Invalid contractType.")
        return _interest_history(coins, desk, {**query, "symbol": f"{query['pair']}_PERP"})

    return {"/futures/data/openInterestHist": Route(answer, 0)}


def _all(history: History, desk: Desk) -> list[Instrument]:
    return [found for symbol in desk.tapes if (found := history.instruments(desk, symbol)) is not None]


def _settled(instrument: Instrument, now: int, query: Query, limit: int) -> list[Any]:
    """Settlements from ``startTime`` to ``endTime``; the first ones where there is a start, else the last."""
    tape, period = instrument.tape, derivatives.funding_hours(instrument.tape) * derivatives.HOUR_MS
    start, end = whole(query, "startTime"), min(whole(query, "endTime", now) or 0, now)
    last = end // period
    first = max(-(-START_MS // period), last - limit + 1 if start is None else -(-start // period))
    return [
        {
            "symbol": instrument.symbol,
            "fundingTime": place * period,
            "fundingRate": _text(derivatives.funding_rate(tape, place * period)),
            "markPrice": _text(derivatives.mark_price(tape, place * period)),
        }
        for place in range(first, min(last, first + limit - 1) + 1)
    ]


def _interval(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": derivatives.funding_hours(instrument.tape),
        "disclaimer": False,
    }


def _premium(instrument: Instrument, now: int) -> dict[str, Any]:
    tape = instrument.tape
    mark = _text(derivatives.mark_price(tape, now))
    return {
        "symbol": instrument.symbol,
        "markPrice": mark,
        "indexPrice": _text(derivatives.index_price(tape, now)),
        "estimatedSettlePrice": mark,
        "lastFundingRate": _text(derivatives.predicted_rate(tape, now)),
        "interestRate": "0.00010000",
        "nextFundingTime": derivatives.next_funding(tape, now),
        "time": now,
    }


def _interest_history(history: History, desk: Desk, query: Query) -> list[Any]:
    """Of the last 30 days, on the period's grid."""
    instrument, limit, now = history.instrument(desk, query), history.limit(query, 30, 500), desk.now_ms()
    period = query.get("period", "")
    if period not in _PERIODS:
        raise refuse(-1130, "Data sent for parameter 'period' is not valid.")
    length, start = INTERVALS[period], whole(query, "startTime")
    if start is not None and start < now - 30 * DAY_MS:
        raise refuse(-1130, "Data sent for parameter 'startTime' is not valid.")
    last = min(whole(query, "endTime", now) or 0, now) // length
    first = max(last - limit + 1, -(-(now - 30 * DAY_MS) // length), 0 if start is None else -(-start // length))
    return [_interest(instrument, place * length) for place in range(first, last + 1)]


def _interest(instrument: Instrument, time_ms: int) -> dict[str, Any]:
    tape, listing = instrument.tape, instrument.tape.listing
    steps = derivatives.open_interest(tape, time_ms)
    mark, size = derivatives.mark_price(tape, time_ms), steps * listing.step_size
    if instrument.inverse:
        pair = {"pair": instrument.symbol.partition("_")[0], "contractType": "PERPETUAL"}
        sums = {"sumOpenInterest": instrument.texts.quantity(steps), "sumOpenInterestValue": _text(size / mark)}
        return {**pair, **sums, "timestamp": time_ms}
    value = size * mark
    return {
        "symbol": instrument.symbol,
        "sumOpenInterest": decimal(steps * listing.step, listing.quantity_decimals, 8),
        "sumOpenInterestValue": _text(value),
        "timestamp": time_ms,
    }


def _text(number: float) -> str:
    return decimal(round(number * 10**8), 8)
