"""``/aggr``: products and historical bars for aggr."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from schemas.instruments import Instrument
from schemas.time import MILLISECOND, MINUTE, SECOND, floor
from web import instruments as known
from web._desk import Desk
from web._endpoint import Route
from web._errors import ApiError
from web._venues import aggr_market

TIMEFRAMES_S = (5, 10, 15, 30, 60, 180, 300, 900, 1260, 1800, 3600, 7200, 14_400, 21_600, 28_800, 43_200, 86_400)
BARS_MAX, MARKETS_MAX = 50_000, 100
COLUMNS = ("time", "market", "open", "high", "low", "close", "vbuy", "vsell", "cbuy", "csell", "lbuy", "lsell")
_TIME_MS_MAX = 4_102_444_800_000


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


def _failed(error: ApiError) -> web.Response:
    return _json({"error": error.message}, error.status)


async def markets(desk: Desk) -> dict[str, Instrument]:
    """aggr's ids of what has candles here."""
    answer = await known.handle(desk, known.Ask(live=True))
    return {aggr_market(listed.instrument): listed.instrument for listed in answer.instruments if listed.instrument}


async def products(desk: Desk, _request: web.Request) -> web.Response:
    """What aggr may ask for."""
    return _json(sorted(await markets(desk)))


async def historical(desk: Desk, request: web.Request) -> web.Response:
    """Bars of several markets, ascending by time."""
    begin, end, length, names = _asked(request)
    known_markets = await markets(desk)
    found: list[list[Any]] = []
    for name in names:
        if instrument := known_markets.get(name):
            found += await _bars(desk, instrument, name, begin, end, length)
    found.sort(key=lambda bar: bar[0])
    columns = {column: n for n, column in enumerate(COLUMNS)}
    return _json({"format": "point", "columns": columns, "results": found})


def _asked(request: web.Request) -> tuple[int, int, int, list[str]]:
    """[begin, end) and the length of a bar in µs, and the markets. A market may hold an encoded slash."""
    *_, begin_ms, end_ms, length_ms, text = request.rel_url.raw_path.split("/")
    if not (begin_ms.isdecimal() and end_ms.isdecimal() and length_ms.isdecimal()):
        raise ApiError(400, "invalid_parameter", "from, to and timeframe are whole milliseconds")
    begin, end, length = int(begin_ms), int(end_ms), int(length_ms)
    if length not in [seconds * 1000 for seconds in TIMEFRAMES_S]:
        raise ApiError(400, "invalid_parameter", f"timeframe {length} is none of aggr's")
    names = list(dict.fromkeys(filter(None, unquote(text).split("+"))))
    if not begin < end <= _TIME_MS_MAX or not names or len(names) > MARKETS_MAX:
        raise ApiError(400, "invalid_parameter", f"from before to, and 1 to {MARKETS_MAX} markets")
    if (end - begin) // length * len(names) > BARS_MAX:
        raise ApiError(400, "invalid_parameter", f"at most {BARS_MAX} bars: ask for less")
    return begin * MILLISECOND, end * MILLISECOND, length * MILLISECOND, names


async def _bars(desk: Desk, instrument: Instrument, name: str, begin: int, end: int, length: int) -> list[list[Any]]:
    """Whole minutes from our candles; shorter bars, and what no minute holds yet, from trades."""
    who = instrument.exchange, instrument.symbol
    whole, edge = floor(begin + MINUTE - 1, MINUTE), begin
    rows: list[tuple[Any, ...]] = []
    if length % MINUTE == 0 and whole < end:
        if begin < whole:
            rows += await desk.tables.fetch("web_trade_bars", *who, begin, whole, length)
        minutes = await desk.tables.fetch("web_bars", *who, whole, end - end % MINUTE, length)
        rows += minutes
        edge = max([whole, *(row[9] + MINUTE for row in minutes)])
    if edge < end:
        rows += await desk.tables.fetch("web_trade_bars", *who, edge, end, length)
    forced = {row[0]: row[1:] for row in await desk.tables.fetch("web_forced", *who, begin, end, length)}
    bars: dict[int, list[Any]] = {}
    for start, opened, high, low, close, vbuy, vsell, cbuy, csell, _ in rows:
        bar = bars.get(start)
        if bar is None:
            lbuy, lsell = forced.get(start, (0.0, 0.0))
            bars[start] = [
                start // SECOND, name, opened, high, low, close, vbuy, vsell, cbuy, csell, lbuy or 0.0, lsell or 0.0
            ]  # fmt: skip
        else:  # one bar of both sources
            bar[3], bar[4], bar[5] = max(bar[3], high), min(bar[4], low), close
            for column, value in zip(range(6, 10), (vbuy, vsell, cbuy, csell), strict=True):
                bar[column] += value
    return list(bars.values())


ROUTES = (
    Route("/aggr/products", "Markets for aggr", products, _failed),
    Route("/aggr/historical/{from}/{to}/{timeframe}/{markets}", "Bars for aggr", historical, _failed),
)
