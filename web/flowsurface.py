"""``/flowsurface/trades.arrow``: trades for flowsurface, as an Arrow stream."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any

import pyarrow as arrow
from aiohttp import hdrs, web
from msgspec import Meta, field

from schemas.symbols import SIMULATED
from schemas.time import MILLISECOND
from web._desk import Desk
from web._endpoint import Query, Route, parse
from web._errors import ApiError
from web._rows import MOMENT_ROWS_MAX
from web._venues import FLOWSURFACE, flowsurface_symbol

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
CHUNK = 50_000
"""Rows read at once: so much of an answer is Python objects, the rest is arrays."""
SCHEMA = arrow.schema(
    [
        arrow.field("ts", arrow.int64(), nullable=False),
        arrow.field("price", arrow.float64(), nullable=False),
        arrow.field("qty", arrow.float64(), nullable=False),
        arrow.field("is_sell", arrow.bool_(), nullable=False),
    ]
)
_TIME_MS_MAX = 4_102_444_800_000
Ms = Annotated[int, Meta(ge=0, le=_TIME_MS_MAX)]


class Ask(Query, kw_only=True):
    """As flowsurface asks: times in ms, both included."""

    venue: Annotated[str, Meta(max_length=40)]
    market: Annotated[str, Meta(max_length=40)]
    symbol: Annotated[str, Meta(max_length=60)]
    from_: Ms = field(name="from")
    to: Ms
    limit: Annotated[int, Meta(ge=1)] = 400_000


ROWS_MAX = 400_000


async def handle(desk: Desk, request: web.Request) -> web.Response:
    """The trades; an instrument we know nothing of has none."""
    ask: Ask = parse(Ask, request.query, list(request.query.keys()))
    venue = ask.venue.lower()
    exchange = FLOWSURFACE.get((venue.removeprefix(SIMULATED), ask.market.lower()))
    if exchange is None:
        raise ApiError(404, "unknown_exchange", f"{ask.venue!r} {ask.market!r} is not taken in here")
    if venue.startswith(SIMULATED):
        exchange = SIMULATED + exchange
    await desk.instruments.refresh()
    symbol = flowsurface_symbol(desk.instruments, exchange, ask.symbol)
    if symbol is None:
        raise ApiError(404, "unknown_symbol", f"{exchange} has no {ask.symbol!r}")
    inverse = desk.instruments.newest[exchange, symbol].inverse
    batches = await _batches(desk, exchange, symbol, ask, inverse)
    answer = web.Response(body=await asyncio.to_thread(_body, batches), content_type=CONTENT_TYPE)
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


async def _batches(desk: Desk, exchange: str, symbol: str, ask: Ask, inverse: bool) -> list[Any]:
    """Record batches until the limit is reached or passed; none ends inside a millisecond, where no page can begin."""
    at, end = ask.from_ * MILLISECOND, (ask.to + 1) * MILLISECOND
    wanted, found = min(ask.limit, ROWS_MAX), list[Any]()
    while wanted > 0 and at < end:
        count = min(CHUNK, wanted)
        rows = await desk.tables.fetch("web_ticks", exchange, symbol, at, end, count)
        more = len(rows) == count
        if more:
            edge = rows[-1][0] // MILLISECOND * MILLISECOND
            whole = await desk.tables.fetch("web_ticks", exchange, symbol, edge, edge + MILLISECOND, MOMENT_ROWS_MAX)
            rows = [row for row in rows if row[0] < edge] + whole
            at = edge + MILLISECOND
        found.append(_batch(rows, inverse))
        wanted -= len(rows)
        if not more:
            break
    return found


def _batch(rows: list[tuple[Any, ...]], inverse: bool) -> Any:
    return arrow.record_batch(
        [
            arrow.array([row[0] // MILLISECOND for row in rows], arrow.int64()),
            arrow.array([row[1] for row in rows], arrow.float64()),
            arrow.array([row[3] if inverse else row[2] for row in rows], arrow.float64()),
            arrow.array([row[4] for row in rows], arrow.bool_()),
        ],
        schema=SCHEMA,
    )


def _body(batches: list[Any]) -> bytes:
    out = io.BytesIO()
    with arrow.ipc.new_stream(out, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return out.getvalue()


ROUTES = (Route("/flowsurface/trades.arrow", "Trades for flowsurface, as an Arrow stream", handle),)
