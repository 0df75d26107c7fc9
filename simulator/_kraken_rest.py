"""Kraken spot's public REST endpoints, whose names of pairs are the old ones. Errors come with status 200."""

from __future__ import annotations

from typing import Any

from simulator._candles import INTERVALS as LENGTHS
from simulator._candles import candles, floor, id_at
from simulator._kraken_feed import INTERVALS, Pair, vwap
from simulator._market import Listing
from simulator._tape import START
from simulator._text import decimal
from simulator._venue import Desk, Query, Route

_ROWS_MAX, _TRADES_MAX = 720, 1_000
_OLD = {"BTC": "XBT", "DOGE": "XDG"}
_DAY_MS = 86_400_000


def pair_of(desk: Desk, symbol: str) -> Pair:
    """The pair of a symbol that is listed."""
    return desk.remember(symbol, lambda: Pair(desk.tapes[symbol]))


def _old_name(listing: Listing) -> str:
    base = _OLD.get(listing.coin.name, listing.coin.name)
    return f"X{base}Z{listing.quote}" if len(base) == 3 else f"{base}{listing.quote}"


def _answer(result: Any) -> dict[str, Any]:
    return {"error": [], "result": result}


def _find(desk: Desk, query: Query) -> Pair | None:
    asked = query.get("pair", "")
    for symbol, tape in desk.tapes.items():
        if asked in (symbol, _old_name(tape.listing), _old_name(tape.listing).lower()):
            return pair_of(desk, symbol)
    return None


_UNKNOWN = {"error": ["EQuery:Unknown asset pair"]}  # with status 200


async def _asset_pairs(desk: Desk, _: Query) -> dict[str, Any]:
    return _answer({
        _old_name(it): {
            "altname": _OLD.get(it.coin.name, it.coin.name) + it.quote, "aclass_base": "currency",
            "wsname": f"{_OLD.get(it.coin.name, it.coin.name)}/{it.quote}", "base": it.coin.name,
            "quote": f"Z{it.quote}", "aclass_quote": "currency", "lot": "unit", "cost_decimals": 5,
            "pair_decimals": it.price_decimals, "lot_decimals": it.quantity_decimals, "lot_multiplier": 1,
            "tick_size": decimal(it.tick, it.price_decimals), "status": "online",
        }
        for it in (tape.listing for tape in desk.tapes.values())
    })  # fmt: skip


async def _ohlc(desk: Desk, query: Query) -> dict[str, Any]:
    """Those that open after ``since`` (s), the last 720 at most; the last one is forming."""
    pair, now = _find(desk, query), desk.now_ms()
    interval = INTERVALS.get(int(query.get("interval", "1"))) if query.get("interval", "1").isdecimal() else None
    if pair is None or interval is None:
        return _UNKNOWN if pair is None else {"error": ["EGeneral:Invalid arguments:interval"]}
    length, last = LENGTHS[interval], floor(interval, now)
    since = int(query["since"]) * 1_000 if query.get("since", "").isdecimal() else 0
    oldest = last - (_ROWS_MAX - 1) * length
    opens = range(max(oldest, floor(interval, max(since, oldest)) + length), last + 1, length) or range(last, last + 1)
    made = await candles(pair.tape, interval, list(opens), now, desk.breathe)
    price, quantity = pair.texts.price, pair.texts.quantity
    rows = [
        (c.open_ms // 1_000, price(c.open), price(c.high), price(c.low), price(c.close), vwap(pair.tape, c),
         quantity(c.volume), c.trades)
        for c in made
    ]  # fmt: skip
    return _answer({query["pair"]: rows, "last": (opens[-1] - length) // 1_000})


async def _trades(desk: Desk, query: Query) -> dict[str, Any]:
    """Trades after ``since`` (ns, exclusive), oldest first; without it the latest."""
    pair = _find(desk, query)
    if pair is None:
        return _UNKNOWN
    known, since = id_at(pair.tape, desk.now_ms()), query.get("since", "")
    count = min(_TRADES_MAX, int(query["count"])) if query.get("count", "").isdecimal() else _TRADES_MAX
    first = id_at(pair.tape, int(since) // 1_000_000) + 1 if since.isdecimal() else max(1, known - count + 1)
    last = min(known, first + count - 1)
    rows, cursor = [], since or "0"
    for _, columns in pair.tape.minutes(START + (first - 1) // pair.tape.fills, START + (last - 1) // pair.tape.fills):
        for name, (at, ticks, steps, maker, _) in enumerate(columns.rows, columns.first_id):
            if first <= name <= last:
                side = "s" if maker else "b"
                rows.append((pair.texts.price(ticks), pair.texts.quantity(steps), at / 1_000, side, "m", "", name))
                cursor = str(at * 1_000_000)
        await desk.breathe()
    return _answer({query["pair"]: rows, "last": cursor})


async def _ticker(desk: Desk, _: Query) -> dict[str, Any]:
    now, found = desk.now_ms(), {}
    for symbol, tape in desk.tapes.items():
        (day,) = await candles(tape, "1d", [floor("1d", now - _DAY_MS)], now, desk.breathe)
        volume, mean = pair_of(desk, symbol).texts.quantity(day.volume), vwap(tape, day)
        found[_old_name(tape.listing)] = {"v": [volume, volume], "p": [mean, mean]}
    return _answer(found)


async def _time(desk: Desk, _: Query) -> dict[str, Any]:
    return _answer({"unixtime": desk.now_ms() // 1_000, "rfc1123": ""})


ROUTES = {
    "/0/public/Time": Route(_time),
    "/0/public/AssetPairs": Route(_asset_pairs),
    "/0/public/OHLC": Route(_ohlc),
    "/0/public/Trades": Route(_trades),
    "/0/public/Ticker": Route(_ticker),
}
