"""The API on real servers: every answer equals what the tables and Redis hold."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import msgspec
import pytest
import redis.asyncio as aioredis

from consumers._questdb import query
from schemas.candles import FootprintCandle
from schemas.time import MINUTE
from tests.conftest import Stack
from tests.webbing import EXCHANGE, MINUTES, SYMBOL, serving, story, tell
from web.profile import Profile

WHO = {"exchange": EXCHANGE, "symbol": SYMBOL}
HOUR = 3_600_000_000


class Told(NamedTuple):
    """The stack whose tables and keys hold the story that began at ``start``."""

    stack: Stack
    start: int


@pytest.fixture(scope="module")
def told(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Told:
    start = (time.time_ns() // 1000 - 6 * HOUR) // HOUR * HOUR
    asyncio.run(tell(migrated, tmp_path_factory.mktemp("story"), start))
    return Told(migrated, start)


@pytest.fixture
async def site(told: Told, tmp_path):
    async with serving(told.stack, tmp_path) as it:
        yield it


async def paged(site, path: str, key: str, **ask) -> list:
    """All pages of a series, each placed where its direction says."""
    rows, more = [], {}
    for _ in range(100):
        body = await site.ok(path, **WHO, **ask, **more)
        rows = rows + body[key] if "from_" in ask else body[key] + rows
        if body["next"] is None:
            return rows
        more = {"next": body["next"]}
    raise AssertionError("pages without end")


async def test_candles_made_of_the_tables_are_those_redis_held_byte_for_byte(site, told: Told) -> None:
    cache = aioredis.Redis.from_url(told.stack.redis_url)
    for interval in ("1m", "5m", "1h"):
        closed = f"footprint:{EXCHANGE}:{SYMBOL}:{interval}:closed"
        held = [msgspec.json.decode(text) for text in await cache.zrange(closed, 0, -1)]
        assert held, "not run: Redis has no closed candles"
        try:
            await cache.rename(closed, "aside")
            body = await site.ok("/api/footprint", **WHO, interval=interval, limit=1000)
        finally:
            await cache.rename("aside", closed)
        made = {candle["timestamp"]: candle for candle in body["candles"]}
        assert [made[candle["timestamp"]] for candle in held] == held
    await cache.aclose()


@pytest.mark.parametrize("path", ["/api/footprint", "/api/candles"])
async def test_pages_forwards_and_backwards_join_redis_and_tables_without_a_seam(site, told: Told, path: str) -> None:
    minutes = [told.start + n * MINUTE for n in range(MINUTES)]
    for ask in ({"from_": told.start - 90 * MINUTE}, {"to": told.start + (MINUTES + 9) * MINUTE}, {}):
        rows = await paged(site, path, "candles", limit=37, **ask)
        assert [row["timestamp"] for row in rows if row["closed"]] == minutes
    some = await paged(site, path, "candles", limit=7, from_=minutes[50], to=minutes[90])
    assert [row["timestamp"] for row in some] == minutes[50:90]


async def test_footprints_hold_every_trade_and_carry_the_gap(site, told: Told) -> None:
    body = await site.ok("/api/footprint", **WHO, limit=1000)
    candles = [msgspec.convert(candle, FootprintCandle) for candle in body["candles"]]
    trades = [event for event in story(told.start) if type(event).__name__ == "Trade"]
    volume = sum(round(trade.quantity * 10_000) for trade in trades)
    assert sum(round(size * 10_000) for c in candles for size in (*c.buys, *c.sells)) == volume
    assert [(c.timestamp - told.start) // MINUTE for c in candles if not c.complete] == [10]


async def test_cvd_along_the_candles_is_the_sum_of_deltas_since_midnight(site, told: Told) -> None:
    rows = await paged(site, "/api/cvd", "series", limit=50)
    total, day = 0.0, None
    for row in rows:
        total = row["delta"] + (total if row["timestamp"] // (24 * HOUR) == day else 0.0)
        day = row["timestamp"] // (24 * HOUR)
        assert row["cvd"] == pytest.approx(total, abs=1e-9)
    assert (await site.ok("/api/cvd", **WHO))["now"]["symbol"] == SYMBOL


async def test_a_span_profile_equals_the_recipe_on_the_table_of_trades(site, told: Told) -> None:
    begin, end = told.start + 20 * MINUTE, told.start + 80 * MINUTE
    profile = msgspec.convert(await site.ok("/api/profile", **WHO, from_=begin, to=end), Profile)
    rows = await query(
        told.stack.questdb_pg,
        "SELECT floor(price / $1 + 0.000001) * $1, sum(CASE WHEN is_buyer_maker THEN 0.0 ELSE quantity END), "
        "sum(CASE WHEN is_buyer_maker THEN quantity ELSE 0.0 END) FROM trades WHERE exchange = $2 AND symbol = $3 "
        "AND timestamp >= $4::long::timestamp AND timestamp < $5::long::timestamp ORDER BY 1",
        profile.row, EXCHANGE, SYMBOL, begin, end,
    )  # fmt: skip
    counted = {price: (buy, sell) for price, buy, sell in rows}
    assert sum(profile.buys) + sum(profile.sells) > 0
    for price, buy, sell in zip(profile.prices, profile.buys, profile.sells, strict=True):
        assert (buy, sell) == pytest.approx(counted.get(price, (0.0, 0.0)), abs=1e-9)


async def test_named_profiles_are_the_keys_of_redis(site, told: Told) -> None:
    cache = aioredis.Redis.from_url(told.stack.redis_url)
    for name in ("session", "rolling-4h"):
        held = msgspec.json.decode(await cache.get(f"profile:{EXCHANGE}:{SYMBOL}:{name}"))
        assert await site.ok("/api/profile", **WHO, range=name) == held
    await cache.aclose()


@pytest.mark.parametrize("symbol", [SYMBOL, "btc-usd", "XBT/USD", "xbt/usd", "BTC/USD"])
async def test_a_symbol_may_be_spelled_as_the_exchange_or_ccxt_does(site, symbol: str) -> None:
    body = await site.ok("/api/candles", exchange=EXCHANGE, symbol=symbol, limit=1)
    assert [candle["symbol"] for candle in body["candles"]] == [SYMBOL]


async def test_instruments_say_which_have_a_footprint(site) -> None:
    body = await site.ok("/api/instruments", exchange=EXCHANGE)
    (listed,) = [each for each in body["instruments"] if each["symbol"] == SYMBOL]
    assert listed["live"]
    assert listed["instrument"]["exchange_symbol"] == "XBT/USD"
    assert "1m" in body["intervals"]


@pytest.mark.parametrize(
    ("path", "ask", "status", "code"),
    [
        ("/api/footprint", {}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "intervall": "1m"}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "interval": "7m"}, 400, "unknown_interval"),
        ("/api/footprint", {**WHO, "limit": "100000"}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "limit": "many"}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "from": "yesterday"}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "from": "9" * 40}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "from": "2026-01-02", "to": "2026-01-01"}, 400, "invalid_parameter"),
        ("/api/footprint", {**WHO, "next": "from.-1"}, 400, "invalid_parameter"),
        ("/api/footprint", {"exchange": "mtgox", "symbol": SYMBOL}, 404, "unknown_exchange"),
        ("/api/candles", {"exchange": EXCHANGE, "symbol": "<img src=x onerror=alert(1)>"}, 404, "unknown_symbol"),
        ("/api/candles", {"exchange": EXCHANGE, "symbol": "A' OR '1'='1"}, 404, "unknown_symbol"),
        ("/api/profile", {**WHO, "range": "no-such"}, 404, "no_data"),
        ("/api/profile", {**WHO, "range": "../../etc"}, 400, "invalid_parameter"),
        ("/api/profile", {**WHO, "from": "2001-01-01"}, 400, "invalid_parameter"),
        ("/api/nothing", {}, 404, "not_found"),
        ("/../pyproject.toml", {}, 404, "not_found"),
        ("/%2e%2e/pyproject.toml", {}, 404, "not_found"),
    ],
)
async def test_a_bad_request_is_a_4xx_of_one_shape(site, path: str, ask: dict, status: int, code: str) -> None:
    got, body = await site.get(path, **ask)
    assert (got, body["error"]["code"]) == (status, code)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}


async def test_probes_answer(site) -> None:
    for path in ("/livez", "/readyz"):
        async with site.client.get(site.url + path) as answer:
            assert answer.status == 200
