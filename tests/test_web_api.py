"""The API on real servers: every answer equals what the tables and Redis hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest
import redis.asyncio as aioredis

from consumers._questdb import Questdb, query
from flowtape import bus
from schemas import candles, instruments
from schemas.candles import FootprintCandle
from schemas.events import Book, Funding, Gap, Kline, Liquidation, OpenInterest, Trade, encode
from schemas.instruments import Instrument
from schemas.names import BUCKET_INSTRUMENTS, HEADER_ORIGIN, HEADER_REASON, dead_subject, signal_subject
from schemas.time import DAY, HOUR, MINUTE
from tests.conftest import Stack, own_migrated
from tests.consuming import consuming, until_health
from tests.harness import eventually
from tests.series import footprint
from tests.webbing import EXCHANGE, MINUTES, START, SYMBOL, serving, story, tell
from web.profile import Profile

WHO = {"exchange": EXCHANGE, "symbol": SYMBOL}
SUM = {"exchange": "sim_all", "symbol": "BTC-USD"}


class Told(NamedTuple):
    """The stack whose tables and keys hold the story that began at ``start``."""

    stack: Stack
    start: int


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def told(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Told:
    asyncio.run(tell(migrated, tmp_path_factory.mktemp("story"), START))
    return Told(migrated, START)


@pytest.fixture
async def site(told: Told, tmp_path):
    async with serving(told.stack, tmp_path) as it:
        yield it


async def paged(site, path: str, key: str, **ask) -> list:
    """All pages of a series, each placed where its direction says."""
    rows, more = [], {}
    for _ in range(100):
        body = await site.ok(path, **(WHO | ask), **more)
        rows = rows + body[key] if "from_" in ask else body[key] + rows
        if body["next"] is None:
            return rows
        more = {"next": body["next"]}
    raise AssertionError("pages without end")


@pytest.mark.parametrize("who", [WHO, SUM], ids=["exchange", "sum"])
async def test_candles_made_of_the_tables_are_those_redis_held_byte_for_byte(site, told: Told, who: dict) -> None:
    cache = aioredis.Redis.from_url(told.stack.redis_url)
    for interval in ("1m", "5m", "1h"):
        closed = f"footprint:{who['exchange']}:{who['symbol']}:{interval}:closed"
        held = [msgspec.json.decode(text) for text in await cache.zrange(closed, 0, -1)]
        assert held, "not run: Redis has no closed candles"
        try:
            await cache.rename(closed, "aside")
            body = await site.ok("/api/footprint", **who, interval=interval, limit=1000)
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


async def test_sums_over_exchanges_are_asked_for_like_an_exchange(site, told: Told) -> None:
    for exchange in ("all", "sim_all"):
        assert (await site.ok("/api/footprint", exchange=exchange, symbol="NO-USD"))["candles"] == []


async def test_a_sum_of_the_past_adds_up_what_the_tables_have_of_its_members(site, told: Told) -> None:
    day = told.start // DAY * DAY - DAY
    members = (EXCHANGE, SYMBOL), ("sim_okx", "BTC-USD")
    made, nats = {}, await bus.connect(told.stack.settings, "admin")
    registry = await nats.jetstream().key_value(BUCKET_INSTRUMENTS)
    entry = Instrument(*members[1], "BTC-USD", "BTC", "USD", "USD", "spot", False, 1.0, 0.5, 0.0001, valid_from=1)
    await registry.put(".".join(members[1]), instruments.encode(entry))
    try:
        async with consuming(told.stack, nats, "candles", "footprints") as health:
            for n, who in ((0, members[0]), (1, members[0]), (1, members[1]), (2, members[1]), (4, members[0])):
                one = footprint(
                    day + n * MINUTE, 60_000.0, [1.0, 0.0, 2.0], [0.5, 0.25 * (n + 1), 0.0], row=0.5, who=who,
                    buy_trades=1, sell_trades=1, level=120_000, row_buys=[1, 0, 0], row_sells=[0, 1, 0],
                )  # fmt: skip
                made[n, who] = one
                await nats.publish(signal_subject("footprint", *who, "1m"), candles.encode(one))
            await until_health(health, "candles", rows=len(made))
            await until_health(health, "footprints", rows=3 * len(made))

        async def pages(path: str) -> list:
            return await paged(site, path, "candles", **SUM, limit=2, from_=day, to=day + HOUR)

        async def there() -> bool:
            return len(await pages("/api/candles")) == len(await pages("/api/footprint")) == 4

        await eventually(there, "the sums of four minutes")
        found = [msgspec.convert(candle, FootprintCandle) for candle in await pages("/api/footprint")]
        heads = await pages("/api/candles")
    finally:
        await registry.purge(".".join(members[1]))
        await nats.close()
    cvd = dict.fromkeys(members, 0.0)
    assert [(c.timestamp - day) // MINUTE for c in found] == [0, 1, 2, 4]
    for one in found:
        its = {who: made[n, who] for n, who in made if made[n, who].timestamp == one.timestamp}
        for who, member in its.items():
            cvd[who] += member.delta
        assert one.buys == [sum(rows) for rows in zip(*(member.buys for member in its.values()), strict=True)]
        assert one.sells == [sum(rows) for rows in zip(*(member.sells for member in its.values()), strict=True)]
        assert (one.cvd, one.prices) == (sum(cvd.values()), [60_000.0, 60_000.5, 60_001.0])
    assert [(c["timestamp"], c["buy"], c["cvd"]) for c in heads] == [(c.timestamp, c.buy, c.cvd) for c in found]


async def test_named_profiles_are_the_keys_of_redis(site, told: Told) -> None:
    cache = aioredis.Redis.from_url(told.stack.redis_url)
    for name in ("session", "rolling-4h"):
        held = msgspec.json.decode(await cache.get(f"profile:{EXCHANGE}:{SYMBOL}:{name}"))
        assert await site.ok("/api/profile", **WHO, range=name) == held
    await cache.aclose()


@pytest.mark.parametrize("symbol", [SYMBOL, "btc-usdt", "BTCUSDT", "btcusdt", "BTC/USDT"])
async def test_a_symbol_may_be_spelled_as_the_exchange_or_ccxt_does(site, symbol: str) -> None:
    body = await site.ok("/api/candles", exchange=EXCHANGE, symbol=symbol, limit=1)
    assert [candle["symbol"] for candle in body["candles"]] == [SYMBOL]


async def test_instruments_say_which_have_a_footprint(site) -> None:
    body = await site.ok("/api/instruments", exchange=EXCHANGE)
    (listed,) = [each for each in body["instruments"] if each["symbol"] == SYMBOL]
    assert listed["live"]
    assert listed["instrument"]["exchange_symbol"] == "BTCUSDT"
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


ROWS = {
    "/api/trades": ("trades", Trade), "/api/liquidations": ("liquidations", Liquidation), "/api/book": ("books", Book),
    "/api/klines": ("klines", Kline), "/api/open_interest": ("open_interest", OpenInterest),
    "/api/funding": ("funding", Funding), "/api/gaps": ("gaps", Gap),
}  # fmt: skip


@pytest.mark.parametrize("path", ROWS)
async def test_rows_come_back_as_the_events_that_were_published(site, told: Told, path: str) -> None:
    key, kind = ROWS[path]
    ask = {"from_": told.start, "to": told.start + MINUTES * MINUTE}
    rows = await paged(site, path, key, limit=50, **ask)
    assert [msgspec.convert(row, kind) for row in rows] == [e for e in story(told.start) if type(e) is kind]


async def test_pages_never_cut_rows_of_one_microsecond_apart(site, told: Told) -> None:
    forward = await paged(site, "/api/trades", "trades", limit=7, from_=told.start, to=told.start + 20 * MINUTE)
    back = await paged(site, "/api/trades", "trades", limit=7, to=told.start + 20 * MINUTE)
    assert [row["trade_id"] for row in forward] == [str(n) for n in range(60)]
    assert back[-60:] == forward


async def test_gaps_and_liquidations_may_be_asked_of_everything(site, told: Told) -> None:
    gaps = (await site.ok("/api/gaps", status="open", from_=told.start))["gaps"]
    assert {(gap["exchange"], gap["symbol"]) for gap in gaps} >= {(EXCHANGE, SYMBOL)}
    assert (await site.ok("/api/gaps", exchange=EXCHANGE, status="filled", from_=told.start))["gaps"] == []
    status, body = await site.get("/api/gaps", symbol=SYMBOL)
    assert (status, body["error"]["code"]) == (400, "invalid_parameter")


async def test_completeness_is_the_table(site, told: Told) -> None:
    questdb = Questdb(told.stack.questdb_pg)
    columns = "symbol, exchange, channel, timestamp, slot, expected, present, missing, nonexistent, percent, verdict"
    values = f"'{SYMBOL}', '{EXCHANGE}', 'trades', {told.start}, 3600000000, 10, 8, 1, 1, 80.0, 'missing'"
    await questdb.fetch(f"INSERT INTO completeness ({columns}) VALUES ({values})")

    async def shown():
        slots = (await site.ok("/api/completeness", exchange=EXCHANGE, from_=told.start))["completeness"]
        return [slot for slot in slots if slot["expected"] == 10]  # the consumer's audit may have come to others

    (slot,) = await eventually(shown, "the row is visible")
    assert (slot["expected"], slot["present"], slot["missing"], slot["nonexistent"]) == (10, 8, 1, 1)
    assert (slot["percent"], slot["verdict"], slot["evidence"]) == (80.0, "missing", None)
    await questdb.close()


async def test_health_is_what_status_shows_and_names_no_login(site, told: Told) -> None:
    body = await site.ok("/api/health")
    assert {"servers", "workers", "streams", "consumers", "tables", "lag", "dead_letters", "ok"} <= set(body)
    assert body["tables"]["trades"] >= 3 * MINUTES
    assert "@" not in "".join(server["url"] for server in body["servers"].values())


async def test_the_document_describes_every_path_and_the_answers_fit_it(site, told: Told) -> None:
    document = await site.ok("/api/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert {"/api/footprint", "/api/dead/requeue", "/udf/history", "/aggr/products"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        if path.startswith("/api/") and "get" in methods:
            required = [p["name"] for p in methods["get"]["parameters"] if p["required"]]
            body = await site.ok(path, **{name: WHO[name] for name in required})
            check(methods["get"]["responses"]["200"]["content"]["application/json"]["schema"], body, document)
    async with site.client.get(site.url + "/reference.html") as page:
        text = await page.text()
    assert all(f"<code>{path}</code>" in text for path in document["paths"] if "{" not in path)
    assert "<script" not in text


def check(schema, value, document) -> None:
    """What of JSON Schema the document uses."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        check(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], value, document)
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            try:
                check(each, value, document)
            except AssertionError:
                continue
            return
        raise AssertionError(f"{value!r} is none of {schema['anyOf']}")
    elif schema.get("type") == "array":
        assert isinstance(value, list)
        for item in value:
            check(schema.get("items"), item, document)
    elif schema.get("type") == "object":
        assert isinstance(value, dict)
        for name in schema.get("required", ()):
            assert name in value, name
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                check(inner, value[name], document)
    elif "type" in schema:
        kinds = {"integer": int, "number": (int, float), "string": str, "boolean": bool, "null": type(None)}
        assert isinstance(value, kinds[schema["type"]]), (schema, value)


async def test_a_dead_letter_is_shown_and_a_second_try_puts_its_event_into_the_log(site, told: Told) -> None:
    admin = await bus.connect(told.stack.settings, "admin")
    context = admin.jetstream()
    event = story(told.start)[0]
    headers = {HEADER_REASON: "no room", HEADER_ORIGIN: "MD_TRADE:1"}
    evil = b'{"kind":"trade","x":"<img src=x onerror=alert(1)>"}'
    for data in (evil, encode(event)):
        answer = await context.publish(dead_subject("trade", EXCHANGE), data, headers=headers)
    letters = (await site.ok("/api/dead", exchange=EXCHANGE, kind="trade", limit=2))["letters"]
    assert [letter["sequence"] for letter in letters] == [answer.seq, answer.seq - 1]
    assert letters[0]["reason"] == "no room"
    assert letters[1]["data"] == evil.decode()
    before = (await context.stream_info("MD_TRADE")).state.messages
    for sequence, status in ((answer.seq - 1, 409), (answer.seq, 200), (answer.seq, 404)):
        async with site.client.post(f"{site.url}/api/dead/requeue?sequence={sequence}") as tried:
            assert tried.status == status
    assert (await context.stream_info("MD_TRADE")).state.messages == before + 1
    async with site.client.get(f"{site.url}/api/dead/requeue?sequence={answer.seq}") as tried:
        assert tried.status == 405
    await admin.close()
