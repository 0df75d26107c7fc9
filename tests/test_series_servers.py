"""The signals over the slower streams on real servers: restarted, flushed, sent twice, their keys come out equal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as aioredis
from nats.aio.client import Client

from consumers._questdb import query
from flowtape import bus
from schemas.candles import encode as encode_candle
from schemas.events import encode
from schemas.names import STREAM_SIGNALS, WORD, event_subject, signal_subject
from schemas.settings import load
from signals import _run
from signals._series import plug_ins
from signals._tables import Tables
from tests.conftest import Stack
from tests.harness import eventually
from tests.series import MINUTE, T0, keys, liquidation
from tests.test_series import _events

NAMES = ["liquidations", "open_interest", "funding"]
PREFIXES = tuple(name.encode() + b":" for name in NAMES)


def _subject(word: str, event: Any) -> str:
    if word == "footprint":
        return signal_subject(word, event.exchange, event.symbol, event.interval)
    return event_subject(event)


class Desk:
    """Publishes events, remembers what the signals must make of them, runs the worker."""

    def __init__(self, stack: Stack, nats: Client, cache: aioredis.Redis) -> None:
        self.stack, self.nats, self.cache = stack, nats, cache
        self.twins = {name: plug_ins()[name](stack.settings) for name in NAMES}
        self.last: dict[str, int] = {}

    async def publish(self, events: list[tuple[str, Any, int]]) -> None:
        for word, event, _ in events:
            payload = encode_candle(event) if word == "footprint" else encode(event)
            ack = await self.nats.jetstream().publish(_subject(word, event), payload)
            self.last[ack.stream] = ack.seq
            for twin in self.twins.values():
                if word in {source.word for source in twin.sources()}:
                    twin.take(word, event, ack.seq)

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[dict[str, Any]]:
        connection = await bus.connect(self.stack.settings, "signal")
        stop, health = asyncio.Event(), {}
        work = asyncio.create_task(_run.signal(NAMES, self.stack.settings, connection, self.cache, stop, health))
        try:
            yield health
        finally:
            stop.set()
            await work
            await connection.close()

    async def found(self) -> dict[bytes, bytes]:
        names = [name for name in await self.cache.keys("*") if name.startswith(PREFIXES)]
        return {name: await self.cache.get(name) for name in names}

    async def equal(self) -> bool:
        wanted: dict[bytes, bytes] = {}
        for twin in self.twins.values():
            wanted |= keys(twin)
        found = await self.found()
        # Other tests' rows may be in the tables: theirs are other symbols.
        differ = [name for name, text in wanted.items() if found.get(name) != text]
        return bool(wanted) and not differ


@pytest.fixture
async def desk(migrated: Stack, nats: Client) -> AsyncIterator[Desk]:
    cache = aioredis.Redis.from_url(migrated.redis_url)
    await cache.flushdb()
    try:
        yield Desk(migrated, nats, cache)
    finally:
        await cache.aclose()


async def test_keys_are_those_of_the_log_through_restarts_copies_a_flushed_redis_and_bad_lines(desk: Desk) -> None:
    events = _events(random.Random(5))
    await desk.publish(events[:250])
    async with desk.worker() as health:
        await eventually(desk.equal, "the keys of the log")
        await desk.nats.publish("md.liquidation.one.BTC-USDT-PERP", b'{"no": "liquidation"}')
        await desk.publish(events[250:400])
        await eventually(desk.equal, "the keys after more was published")
        await desk.cache.flushdb()
        await eventually(desk.equal, "the keys after Redis lost them")

        async def counted() -> bool:
            return health.get("liquidations", {}).get("bad") == 1

        await eventually(counted, "the bad line in the heartbeat")
    await desk.publish(events[400:])
    await desk.publish(events[100:140])
    async with desk.worker():
        await eventually(desk.equal, "the keys after a restart")
        held = await desk.cache.hgetall("watermark:redis-open_interest")
    assert int(held[b"sequence"]) == desk.last[WORD["open_interest"].stream]
    assert int(held[b"sequence:SIGNALS"]) == desk.last[STREAM_SIGNALS]
    await desk.cache.flushdb()


async def test_a_cascade_is_published_once_though_the_worker_starts_again(desk: Desk) -> None:
    orders = [liquidation(T0 + n * 1_000_000, "long", 100.0 - n, 90_000.0, number=str(n)) for n in range(8)]
    await desk.publish([("liquidation", order, 0) for order in orders])
    published = []
    for _ in range(2):
        async with desk.worker() as health:
            await eventually(desk.equal, "the keys")

            async def reported(health: dict[str, Any] = health) -> bool:
                return "liquidations" in health

            await eventually(reported, "a heartbeat")
            await asyncio.sleep(0)
        published.append(health["liquidations"]["published"])
    assert published == [1, 0]
    last = await desk.nats.jetstream().get_last_msg(STREAM_SIGNALS, "sig.cascade.one.BTC-USDT-PERP")
    assert json.loads(last.data)["timestamp"] == orders[4].timestamp


ROWS = {
    "klines": "(symbol, exchange, interval, timestamp, open, high, low, close, volume, revision, received) VALUES "
    "('BTC-USDT', 'past', '1m', {at}, 1.0, 3.0, 0.5, 2.0, 9.0, 0, {at})",
    "candles": "(symbol, exchange, timestamp, open, high, low, close, buy, sell, buy_value, sell_value) VALUES "
    "('BTC-USDT', 'past', {at}, 1.0, 3.0, 0.5, 2.0, 5.0, 4.0, 10.0, 8.0)",
    "open_interest": "(symbol, exchange, timestamp, open_interest) VALUES ('BTC-USDT', 'past', {at}, {n}.0)",
    "funding": "(symbol, exchange, timestamp, funding_rate, interval_hours, next_funding) VALUES "
    "('BTC-USDT', 'past', {at}, 0.0001, 8.0, {end})",
    "liquidations": "(symbol, price, quantity, timestamp, side, exchange, liquidation_id, value, coverage, received) "
    "VALUES ('BTC-USDT', 100.0, 2.0, {at}, 'long', 'past', '{n}', 200.0, 'all', {at})",
}


async def test_what_the_tables_hold_is_the_past_of_each_signal(migrated: Stack) -> None:
    now = T0 + 600 * MINUTE
    tables = Tables(migrated.questdb_pg)
    for name, row in ROWS.items():
        for n in range(500, 600):
            at, end = T0 + n * MINUTE, T0 + (n // 480 + 1) * 480 * MINUTE
            text = row.format(at=f"{at}::timestamp", n=n, end=f"{end}::timestamp")
            await query(migrated.questdb_pg, f"INSERT INTO {name} {text}")
    settings = load('[signals]\nindicators = ["EMA(5)"]\nlevels.enabled = true', {}, source="test")
    found: dict[str, Any] = {}

    async def whole() -> bool:
        for name, made in plug_ins().items():
            signal = made(settings)
            await signal.history(tables, now)
            found[name] = {key: json.loads(text) for key, text in keys(signal).items() if b":past:" in key}
        return bool(found["funding"]) and len(found["liquidation_levels"]) > 0 and _count(found) == (100, 100, 100)

    await eventually(whole, "the rows of the tables")
    tables.close()
    cache = aioredis.Redis.from_url(migrated.redis_url)
    await cache.flushdb()
    connection = await bus.connect(migrated.settings, "signal")
    names = ["funding", "liquidations"]
    await _run.signal(names, migrated.settings, connection, cache, asyncio.Event(), {}, once=True, wall=lambda: now)
    once = await cache.get("funding:past:BTC-USDT")
    assert json.loads(once) == found["funding"][b"funding:past:BTC-USDT"]
    assert not await cache.keys("watermark:*"), "the log was not read"
    await connection.close()
    await cache.flushdb()
    await cache.aclose()
    assert found["funding"][b"funding:past:BTC-USDT"]["periods"] == 1
    interest = found["open_interest"][b"open_interest:past:BTC-USDT"]
    assert (interest["open_interest"], interest["delta"]) == (599.0, 5.0)
    levels = found["liquidation_levels"][b"liquidation_levels:past:BTC-USDT"]
    assert levels["bars"] == 20
    assert levels["long"]["placed"] == pytest.approx(95.0)
    minute = found["indicators"][b"indicators:past:BTC-USDT:1m"]
    assert minute["klines"]["values"] == minute["candles"]["values"] == {"EMA(5)": 2.0}
    five = found["indicators"][b"indicators:past:BTC-USDT:5m"]["candles"]
    assert five["bars"] == 8, "candles that may not be whole yet are left to the log"


def _count(found: dict[str, Any]) -> tuple[int, int, int]:
    orders = found["liquidations"].get(b"liquidations:past:BTC-USDT:rolling-4h", {"long": {"count": 0}})
    minute = found["indicators"].get(b"indicators:past:BTC-USDT:1m", {})
    bars = [minute.get(name, {"bars": 0})["bars"] for name in ("klines", "candles")]
    return orders["long"]["count"], bars[0], bars[1] + 60
