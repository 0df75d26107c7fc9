"""Deribit's REST endpoints: instruments, trades by sequence, candles, funding by the hour."""

from __future__ import annotations

from typing import Any

from simulator import _derivatives as derivatives
from simulator._candles import START_MS, candles, floor, id_at
from simulator._deribit_streams import RESOLUTIONS, Instrument, instrument
from simulator._market import Listing
from simulator._venue import Desk, Query, RequestRefused, Route

_TRADES_MAX, _BARS_MAX = 1_000, 5_000


def _refuse(code: int, message: str) -> RequestRefused:
    return RequestRefused({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "testnet": False})


def _found(desk: Desk, query: Query) -> Instrument:
    found = instrument(desk, query.get("instrument_name", ""))
    if found is None:
        raise _refuse(13020, "instrument_not_found")
    return found


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise _refuse(-32602, "Invalid params")
    return int(text)


def _answer(desk: Desk, result: Any) -> dict[str, Any]:
    now_us = desk.now_ms() * 1_000
    return {"jsonrpc": "2.0", "result": result, "usIn": now_us, "usOut": now_us, "usDiff": 0, "testnet": False}


async def _instruments(desk: Desk, query: Query) -> Any:
    wanted = query.get("kind", "future") == "future"
    return _answer(desk, [_listed(tape.listing) for tape in desk.tapes.values()] if wanted else [])


def _listed(listing: Listing) -> dict[str, Any]:
    return {
        "instrument_name": listing.symbol, "kind": "future", "base_currency": listing.coin.name,
        "quote_currency": listing.quote, "counter_currency": listing.quote, "settlement_currency": listing.settle,
        "settlement_period": "perpetual", "instrument_type": "reversed" if listing.inverse else "linear",
        "tick_size": listing.tick_size, "contract_size": listing.step_size, "min_trade_amount": listing.step_size,
        "is_active": True, "state": "open", "expiration_timestamp": 32_503_708_800_000,
        "creation_timestamp": START_MS,
    }  # fmt: skip


async def _trades(desk: Desk, query: Query) -> Any:
    """Those from ``start_seq`` to ``end_seq``, or the latest; newest first unless ``sorting=asc``."""
    one, count = _found(desk, query), min(_TRADES_MAX, _whole(query, "count", 10))
    known = id_at(one.tape, desk.now_ms())
    last = min(known, _whole(query, "end_seq", known))
    first = max(1, _whole(query, "start_seq", last - count + 1))
    asked = range(first, min(last, first + count - 1) + 1)
    made = [one.print(sequence) for sequence in asked]
    newest_first = query.get("sorting", "default") != "asc"
    return _answer(desk, {"trades": made[::-1] if newest_first else made, "has_more": asked.stop <= last})


async def _trades_between(desk: Desk, query: Query) -> Any:
    """Those from ``start_timestamp`` to ``end_timestamp``: the oldest with ``sorting=asc``, else the newest."""
    one, count = _found(desk, query), min(_TRADES_MAX, _whole(query, "count", 10))
    now = desk.now_ms()
    first = id_at(one.tape, _whole(query, "start_timestamp", START_MS) - 1) + 1
    last = id_at(one.tape, min(now, _whole(query, "end_timestamp", now)))
    asked = range(first, last + 1)
    oldest_first = query.get("sorting", "default") == "asc"
    shown = asked[:count] if oldest_first else asked[::-1][:count]
    return _answer(desk, {"trades": [one.print(n) for n in shown], "has_more": len(shown) < len(asked)})


async def _chart(desk: Desk, query: Query) -> Any:
    one, interval = _found(desk, query), RESOLUTIONS.get(query.get("resolution", ""))
    if interval is None:
        raise _refuse(-32602, "Invalid params")
    start, end = _whole(query, "start_timestamp", 0), min(_whole(query, "end_timestamp", 0), desk.now_ms())
    opens: list[int] = []
    open_ms = floor(interval, end)
    while open_ms >= max(start, START_MS) and len(opens) < _BARS_MAX:
        opens.append(open_ms)
        open_ms = floor(interval, open_ms - 1)
    made = await candles(one.tape, interval, opens[::-1], desk.now_ms(), desk.breathe)
    rows = [one.bar(row) for row in made]
    names = {"ticks": "tick", "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume",
             "cost": "cost"}  # fmt: skip
    columns = {name: [row[key] for row in rows] for name, key in names.items()}
    return _answer(desk, columns | {"status": "ok" if rows else "no_data"})


async def _funding_history(desk: Desk, query: Query) -> Any:
    """By the hour."""
    tape, hour = _found(desk, query).tape, derivatives.HOUR_MS
    start, end = _whole(query, "start_timestamp", 0), min(_whole(query, "end_timestamp", 0), desk.now_ms())
    return _answer(desk, [
        {"timestamp": place * hour, "index_price": derivatives.index_price(tape, place * hour),
         "prev_index_price": derivatives.index_price(tape, (place - 1) * hour),
         "interest_8h": derivatives.predicted_rate(tape, place * hour),
         "interest_1h": derivatives.predicted_rate(tape, place * hour) / 8.0}
        for place in range(-(-max(start, START_MS) // hour), end // hour + 1)[-744:]
    ])  # fmt: skip


async def _ticker(desk: Desk, query: Query) -> Any:
    return _answer(desk, _found(desk, query).ticker(desk.now_ms()))


async def _time(desk: Desk, _: Query) -> Any:
    return _answer(desk, desk.now_ms())


_PUBLIC = "/api/v2/public"
ROUTES = {
    f"{_PUBLIC}/get_time": Route(_time),
    f"{_PUBLIC}/get_instruments": Route(_instruments),
    f"{_PUBLIC}/get_last_trades_by_instrument": Route(_trades),
    f"{_PUBLIC}/get_last_trades_by_instrument_and_time": Route(_trades_between),
    f"{_PUBLIC}/get_tradingview_chart_data": Route(_chart),
    f"{_PUBLIC}/get_funding_rate_history": Route(_funding_history),
    f"{_PUBLIC}/ticker": Route(_ticker),
}
