"""``/udf``: a small TradingView UDF data feed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from schemas.candles import decode
from schemas.instruments import Instrument, inferred_tick
from schemas.time import SECOND, duration
from signals._write import parts
from web import candles, footprint, gaps
from web import instruments as known
from web._desk import Desk
from web._endpoint import Moment, Route
from web._errors import ApiError

INTERVALS = {"1": "1m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "240": "4h", "1D": "1d", "D": "1d"}
RESOLUTIONS = ["1", "5", "15", "30", "60", "240", "1D"]
SEARCH_MAX, BARS_MAX, MARKS_MAX = 50, 5000, 500
_SECONDS = re.compile(r"-?\d{1,10}(\.\d+)?")
_GREEN, _RED, _GREY = "#2a9d6f", "#d1495b", "#808080"


def _json(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _failed(error: ApiError) -> web.Response:
    """The client reads every body and no status."""
    return _json({"s": "error", "errmsg": error.message})


async def config(_desk: Desk, _request: web.Request) -> web.Response:
    """What this feed can do."""
    return _json({
        "supports_search": True, "supports_group_request": False, "supports_marks": True,
        "supports_timescale_marks": False, "supports_time": True, "supported_resolutions": RESOLUTIONS,
    })  # fmt: skip


async def time(desk: Desk, _request: web.Request) -> web.Response:
    """The time in seconds, as plain text."""
    return web.Response(text=str(desk.clock() // SECOND))


async def search(desk: Desk, request: web.Request) -> web.Response:
    """Instruments whose exchange or symbol holds the query."""
    query = request.query.get("query", "").upper().replace("/", "-")
    exchange = request.query.get("exchange", "")
    limit = min(_whole(request.query, "limit", SEARCH_MAX), SEARCH_MAX)
    listed = await known.handle(desk, known.Ask(live=True))
    return _json([
        {
            "symbol": each.symbol, "full_name": f"{each.exchange}:{each.symbol}",
            "description": f"{each.symbol} on {each.exchange}", "exchange": each.exchange,
            "ticker": f"{each.exchange}:{each.symbol}", "type": "crypto",
        }
        for each in listed.instruments
        if query in f"{each.exchange}:{each.symbol}".upper() and exchange in ("", each.exchange)
    ][: max(limit, 0)])  # fmt: skip


async def _named(desk: Desk, text: str) -> tuple[str, str]:
    """Exchange and symbol of ``binance:BTC-USDT``, or of ``BTC-USDT`` alone where one exchange has it."""
    exchange, colon, symbol = text.partition(":")
    if colon:
        return exchange.lower(), await desk.instruments.canonical(exchange.lower(), symbol)
    listed = await known.handle(desk, known.Ask(live=True))
    for each in listed.instruments:
        if each.symbol == text.upper():
            return each.exchange, each.symbol
    raise ApiError(404, "unknown_symbol", f"no {text!r}; search knows what there is")


async def symbols(desk: Desk, request: web.Request) -> web.Response:
    """What a chart must know of a symbol."""
    exchange, symbol = await _named(desk, request.query.get("symbol", ""))
    minmov, pricescale = await _scale(desk, exchange, symbol)
    return _json({
        "name": symbol, "ticker": f"{exchange}:{symbol}", "description": f"{symbol} on {exchange}", "type": "crypto",
        "session": "24x7", "timezone": "Etc/UTC", "exchange": exchange, "listed_exchange": exchange, "minmov": minmov,
        "pricescale": pricescale, "has_intraday": True, "has_daily": True,
        "intraday_multipliers": [name for name in RESOLUTIONS if name != "1D"],
        "supported_resolutions": RESOLUTIONS, "volume_precision": 8,
    })  # fmt: skip


async def _scale(desk: Desk, exchange: str, symbol: str) -> tuple[int, int]:
    """The tick as a fraction: minmov / pricescale."""
    instrument: Instrument | None = desk.instruments.newest.get((exchange, symbol))
    tick = instrument.tick_size if instrument else None
    if not tick:
        ask = candles.Ask(exchange=exchange, symbol=symbol, limit=1)
        last = (await candles.candles_of(desk, ask)).candles
        tick = inferred_tick(last[0].close) if last else 0.01
    number, places = parts(tick)
    return number, 10**places


async def history(desk: Desk, request: web.Request) -> web.Response:
    """Bars in [from, to) seconds; ``countback`` outranks ``from``."""
    query = request.query
    exchange, symbol = await _named(desk, query.get("symbol", ""))
    interval = _interval(query)
    begin, end = _whole(query, "from", 0), _whole(query, "to", desk.clock() // SECOND + 1)
    count = _whole(query, "countback", 0)
    wanted = count or max(end - begin, 0) * SECOND // duration(interval) + 1
    ask = candles.Ask(exchange=exchange, symbol=symbol, interval=interval, to=Moment(end * SECOND),
                      limit=min(wanted, BARS_MAX))  # fmt: skip
    found = (await candles.candles_of(desk, ask)).candles
    if not count:
        found = [candle for candle in found if candle.timestamp >= begin * SECOND]
    if not found:
        return _json(await _nothing(desk, exchange, symbol, interval, begin if not count else end))
    return _json({
        "s": "ok", "t": [candle.timestamp // SECOND for candle in found], "o": [candle.open for candle in found],
        "h": [candle.high for candle in found], "l": [candle.low for candle in found],
        "c": [candle.close for candle in found], "v": [round(candle.buy + candle.sell, 12) for candle in found],
    })  # fmt: skip


async def _nothing(desk: Desk, exchange: str, symbol: str, interval: str, before: int) -> dict[str, Any]:
    """No bars: where the next ones are to the left, if there are any."""
    rows = await desk.tables.fetch("web_before", exchange, symbol, before * SECOND, table="candles")
    length = duration(interval)
    earlier = {"nextTime": rows[0][0] // length * length // SECOND} if rows else {}
    return {"s": "no_data", **earlier}


async def marks(desk: Desk, request: web.Request) -> web.Response:
    """Stacked imbalances and holes."""
    query = request.query
    exchange, symbol = await _named(desk, query.get("symbol", ""))
    interval = _interval(query)
    begin, end = Moment(_whole(query, "from", 0) * SECOND), Moment(_whole(query, "to", 0) * SECOND)
    made: list[tuple[int, str, str, str]] = []
    if begin < end:
        asked = footprint.Ask(exchange=exchange, symbol=symbol, interval=interval, to=end, limit=MARKS_MAX)
        for raw in (await footprint.handle(desk, asked))["candles"]:
            candle = decode(raw)
            made += [
                (candle.timestamp, _GREEN if stack.side == "buy" else _RED, "S",
                 f"{stack.count} stacked {stack.side} imbalances, {stack.low} to {stack.high}")
                for stack in candle.stacks if candle.timestamp >= begin
            ]  # fmt: skip
        holes = await gaps.handle(
            desk, gaps.Ask(exchange=exchange, symbol=symbol, from_=begin, to=end, limit=MARKS_MAX)
        )
        length = duration(interval)
        made += [
            (hole.timestamp // length * length, _GREY, "G", f"{hole.channel}: {hole.status}, {hole.cause}")
            for hole in holes.gaps
        ]
    made = sorted(made)[:MARKS_MAX]
    return _json({
        "id": list(range(len(made))), "time": [mark[0] // SECOND for mark in made],
        "color": [mark[1] for mark in made], "text": [mark[3] for mark in made], "label": [mark[2] for mark in made],
        "labelFontColor": ["#ffffff"] * len(made), "minSize": [14] * len(made),
    })  # fmt: skip


def _interval(query: Mapping[str, str]) -> str:
    resolution = query.get("resolution", "")
    if resolution not in INTERVALS:
        raise ApiError(400, "unknown_interval", f"resolution {resolution!r}: there are {', '.join(RESOLUTIONS)}")
    return INTERVALS[resolution]


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that is whole seconds or a count; negative is 0."""
    text = query.get(name, "")
    if not text:
        return default
    if _SECONDS.fullmatch(text) is None:
        raise ApiError(400, "invalid_parameter", f"{name}: not a number")
    return min(max(int(float(text)), 0), 4_102_444_800)


ROUTES = tuple(
    Route(f"/udf/{handle.__name__}", f"TradingView UDF: {handle.__name__}", handle, _failed)
    for handle in (config, time, search, symbols, history, marks)
)
