"""Other people's charts: requests as their clients make them, answers as their clients read them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as arrow
import pytest

from schemas.events import Trade
from schemas.time import HOUR, MINUTE
from tests.conftest import Stack, own_migrated
from tests.webbing import EXCHANGE, MINUTES, START, SYMBOL, serving, story, tell

MARKET = "SIM_BYBIT:BTCUSDT-SPOT"
TICKER = f"{EXCHANGE}:{SYMBOL}"


class Told(NamedTuple):
    """The stack, when the story on it began, and its trades."""

    stack: Stack
    start: int
    trades: list[Trade]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def told(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Told:
    asyncio.run(tell(migrated, tmp_path_factory.mktemp("story"), START))
    return Told(migrated, START, [event for event in story(START) if type(event) is Trade])


@pytest.fixture
async def site(told: Told, tmp_path):
    text = '[web]\nport = 0\nallow_origins = ["https://charts.example"]'
    async with serving(told.stack, tmp_path, text) as it:
        yield it


async def arrow_page(site, begin_ms: int, end_ms: int, limit: int = 400_000, **headers):
    """The request flowsurface sends, and its body as a table."""
    path = f"/flowsurface/trades.arrow?venue=sim_bybit&market=spot&symbol=btcusdt&from={begin_ms}&to={end_ms}"
    async with site.client.get(f"{site.url}{path}&limit={limit}", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
        encoding = answer.headers.get("Content-Encoding")
        return arrow.ipc.open_stream(await answer.read()).read_all(), encoding


async def test_flowsurface_gets_every_trade_in_the_columns_it_reads(site, told: Told) -> None:
    first, last = told.trades[0].timestamp // 1000, told.trades[-1].timestamp // 1000
    table, encoding = await arrow_page(site, first, last, **{"Accept-Encoding": "identity"})
    assert encoding is None
    assert [str(field.type) for field in table.schema] == ["int64", "double", "double", "bool"]
    rows = list(zip(*(table[name].to_pylist() for name in ("ts", "price", "qty", "is_sell")), strict=True))
    assert rows == [(t.timestamp // 1000, t.price, t.quantity, t.is_buyer_maker) for t in told.trades]
    assert (await arrow_page(site, first, last, **{"Accept-Encoding": "gzip"}))[1] == "gzip"


async def test_flowsurface_pages_by_the_last_millisecond_and_misses_nothing(site, told: Told) -> None:
    at, end, seen = told.start // 1000, told.trades[60].timestamp // 1000, []
    while True:
        table, _ = await arrow_page(site, at, end, limit=7)
        if not table.num_rows:
            break
        seen += table["ts"].to_pylist()
        at = seen[-1] + 1
    assert seen == [trade.timestamp // 1000 for trade in told.trades[:61]]
    assert table.schema.names == ["ts", "price", "qty", "is_sell"], "no data is the schema and no row"


@pytest.mark.parametrize(
    "query",
    [
        "venue=mexc&market=spot&symbol=btcusdt&from=0&to=1&limit=1", "venue=bybit&market=spot&symbol=&from=0&to=1",
        "venue=sim_bybit&market=spot&symbol=btcusdt&from=-1&to=1", "venue=sim_bybit&market=spot&symbol=btcusdt",
    ],
)  # fmt: skip
async def test_flowsurface_is_told_what_cannot_be(site, query: str) -> None:
    async with site.client.get(f"{site.url}/flowsurface/trades.arrow?{query}") as answer:
        assert 400 <= answer.status < 500
        assert "error" in await answer.json()


async def aggr(site, begin: int, end: int, timeframe_ms: int, markets: str = MARKET.replace("+", "%2B")):
    """The request aggr sends: milliseconds, markets joined by an encoded plus."""
    from yarl import URL

    path = f"/aggr/historical/{begin // 1000}/{end // 1000}/{timeframe_ms}/{markets}"
    async with site.client.get(URL(site.url + path, encoded=True)) as answer:
        return answer.status, await answer.json()


async def test_aggr_asks_for_products_across_origins_and_finds_the_market(site) -> None:
    async with site.client.get(site.url + "/aggr/products", headers={"Origin": "https://charts.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://charts.example"
        assert MARKET in await answer.json()


@pytest.mark.parametrize("timeframe_ms", [10_000, 60_000, 300_000, 1_260_000])
async def test_aggr_bars_add_up_to_the_trades(site, told: Told, timeframe_ms: int) -> None:
    begin, end = told.start, told.start + MINUTES * MINUTE
    status, body = await aggr(site, begin, end, timeframe_ms, f"{MARKET}%2BBINANCE:nosuch")
    assert status == 200
    assert body["format"] == "point"
    at = body["columns"]
    bars = body["results"]
    assert [bar[0] for bar in bars] == sorted(bar[0] for bar in bars)
    assert {bar[at["market"]] for bar in bars} == {MARKET}
    for side, maker in (("buy", False), ("sell", True)):
        mine = [trade for trade in told.trades if trade.is_buyer_maker is maker]
        assert sum(bar[at[f"c{side}"]] for bar in bars) == len(mine)
        assert sum(bar[at[f"v{side}"]] for bar in bars) == pytest.approx(sum(trade.value for trade in mine))
    assert (sum(bar[at["lbuy"]] for bar in bars), sum(bar[at["lsell"]] for bar in bars)) == (0.0, 30_000.0)
    own = [t for t in told.trades if bars[1][0] <= t.timestamp // 1_000_000 < bars[1][0] + timeframe_ms // 1000]
    prices = [trade.price for trade in own]
    assert bars[1][2:6] == [prices[0], max(prices), min(prices), prices[-1]]


async def test_aggr_bars_that_begin_and_end_within_a_minute_hold_only_their_span(site, told: Told) -> None:
    begin, end = told.start + 30_000_000, told.start + 10 * MINUTE + 30_000_000
    _, body = await aggr(site, begin, end, 60_000)
    counted = sum(bar[8] + bar[9] for bar in body["results"])
    assert counted == len([t for t in told.trades if begin <= t.timestamp < end])


async def test_aggr_is_told_the_end_and_what_cannot_be(site, told: Told) -> None:
    assert await aggr(site, told.start - HOUR, told.start, 60_000) == (
        200, {"format": "point", "columns": (await aggr(site, 0, 60_000_000, 60_000))[1]["columns"], "results": []},
    )  # fmt: skip
    for ask in ((0, 10**15, 1000), (0, 10**15, 10_000), (told.start, told.start, 60_000)):
        status, body = await aggr(site, *ask)
        assert status == 400
        assert isinstance(body["error"], str)


async def udf(site, path: str, **ask):
    """The body, which the UDF client parses whatever the status."""
    given = {name.rstrip("_"): str(value) for name, value in ask.items()}
    async with site.client.get(f"{site.url}/udf/{path}", params=given) as answer:
        assert answer.status == 200
        return await answer.json(content_type=None)


async def test_a_udf_chart_starts_up(site, told: Told) -> None:
    config = await udf(site, "config")
    assert config["supports_search"] is True
    assert config["supports_group_request"] is False
    async with site.client.get(f"{site.url}/udf/time") as answer:
        assert (await answer.text()).isdigit()
    found = await udf(site, "search", query="btc", type="", exchange="", limit=30)
    assert TICKER in [each["ticker"] for each in found]
    symbol = await udf(site, "symbols", symbol=TICKER)
    assert "s" not in symbol
    assert (symbol["minmov"], symbol["pricescale"], symbol["session"], symbol["timezone"]) == (5, 10, "24x7", "Etc/UTC")
    assert (await udf(site, "symbols", symbol="nobody:X"))["s"] == "error"


async def test_udf_history_is_our_candles(site, told: Told) -> None:
    second = told.start // 1_000_000
    body = await udf(site, "history", symbol=TICKER, resolution="5", from_=second, to=second + MINUTES * 60)
    candles = await site.ok(
        "/api/candles", exchange=EXCHANGE, symbol=SYMBOL, interval="5m", from_=told.start,
        to=told.start + MINUTES * MINUTE, limit=5000,
    )  # fmt: skip
    assert body["s"] == "ok"
    assert body["t"] == [candle["timestamp"] // 1_000_000 for candle in candles["candles"]]
    assert body["c"] == [candle["close"] for candle in candles["candles"]]
    assert sum(body["v"]) == pytest.approx(sum(trade.quantity for trade in told.trades))


async def test_udf_countback_outranks_from_and_to_is_exclusive(site, told: Told) -> None:
    end = told.start // 1_000_000 + 100 * 60
    body = await udf(site, "history", symbol=TICKER, resolution="1", from_=end - 60, to=end, countback=30)
    assert body["t"] == list(range(end - 30 * 60, end, 60))
    body = await udf(site, "history", symbol=TICKER, resolution="1", from_=0, to=told.start // 1_000_000)
    assert body == {"s": "no_data"}
    late = told.start // 1_000_000 + 5 * 86_400
    body = await udf(site, "history", symbol=TICKER, resolution="1", from_=late, to=late + 60)
    assert body == {"s": "no_data", "nextTime": told.start // 1_000_000 + (MINUTES - 1) * 60}
    assert (await udf(site, "history", symbol=TICKER, resolution="7", from_=0, to=1))["s"] == "error"


async def test_udf_marks_carry_the_gap(site, told: Told) -> None:
    second = told.start // 1_000_000
    marks = await udf(site, "marks", symbol=TICKER, resolution="1", from_=second, to=second + MINUTES * 60)
    assert (
        len({len(marks[name]) for name in ("id", "time", "color", "text", "label", "labelFontColor", "minSize")}) == 1
    )
    assert (second + 600, "G") in list(zip(marks["time"], marks["label"], strict=True))
