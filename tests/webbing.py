"""A web server in the test's own process, on the stack's servers and a free port, and what a client asks it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
import redis.asyncio as aioredis
from nats.js.errors import NotFoundError

from consumers import _run as consumers_run
from consumers._questdb import Questdb
from flowtape import bus
from flowtape.status import collect
from schemas import instruments
from schemas.events import Book, Clock, Funding, Gap, Kline, Liquidation, OpenInterest, Trade
from schemas.instruments import Instrument
from schemas.names import BUCKET_INSTRUMENTS, HEADER_ID, STREAMS, event_message_id, event_subject, payload
from schemas.settings import load
from schemas.time import HOUR
from signals import _run as signals_run
from tests.harness import eventually
from web._run import web_server


class Site:
    """Where it is, and a client of it."""

    def __init__(self, url, client, health):
        self.url, self.client, self.health = url, client, health

    async def get(self, path, **parameters):
        """Status and decoded body; ``from_`` is ``from``."""
        given = {name.rstrip("_"): str(value) for name, value in parameters.items()}
        async with self.client.get(self.url + path, params=given) as answer:
            return answer.status, msgspec.json.decode(await answer.read())

    async def ok(self, path, **parameters):
        """The body of an answer that has to be 200."""
        status, body = await self.get(path, **parameters)
        assert status == 200, body
        return body


@asynccontextmanager
async def serving(stack, data_dir, text="[web]\nport = 0", **more):
    """The server, with the ports of ``stack`` and the ``[web]`` of ``text``."""
    settings = load(text, {})
    settings.data_dir = str(data_dir)
    settings.nats, settings.questdb, settings.redis = (
        stack.settings.nats, stack.settings.questdb, stack.settings.redis,
    )  # fmt: skip
    nats = await bus.connect(settings, "app")
    cache = aioredis.Redis.from_url(settings.redis.url, socket_timeout=5)
    stop, health = asyncio.Event(), {}
    running = asyncio.create_task(
        web_server(
            settings,
            nats,
            cache,
            stop,
            health,
            status=lambda: collect(stack.settings),
            connect=lambda role: bus.connect(settings, role, reconnect=False),
            **more,
        )
    )
    try:
        while "url" not in health:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as client:
            yield Site(health["url"], client, health)
    finally:
        stop.set()
        await running
        await nats.close()
        await cache.aclose()


EXCHANGE, SYMBOL, SUM = "sim_bybit", "BTC-USDT", "sim_all:BTC-USD"
START = (time.time_ns() // 1000 - 6 * HOUR) // HOUR * HOUR
"""The same for all test files of a run, so that the story is there once."""
MINUTES = 260
"""More than Redis keeps, so that the oldest candles are in the tables alone."""


def story(start):
    """Trades of MINUTES minutes from ``start`` on, three a minute, and one of every other event; a gap in between."""
    made = []
    for n in range(3 * MINUTES):
        at, price, quantity = start + n * 20_000_000 + 5, 60_000 + (n * 37 % 101) * 0.5, 0.001 * (1 + n % 7)
        made.append(Trade(EXCHANGE, SYMBOL, at, at, str(n), price, quantity, price * quantity, n % 3 == 0))
    last = made[-1].timestamp
    made.append(Clock(EXCHANGE, last + 61_000_000, last))
    day, ids = start + 60_000_000, (EXCHANGE, SYMBOL)
    made.append(Liquidation(*ids, day, day, "L1", "long", 60_000.0, 0.5, 30_000.0, "sampled"))
    made.append(Book(*ids, day, day, 7, [(59_999.5, 1.0), (59_999.0, 2.0)], [(60_000.5, 3.0)]))
    made.append(Kline(*ids, day, day, "1m", 1.0, 3.0, 0.5, 2.0, 10.0, 20.0, None, "rest"))
    made.append(OpenInterest(*ids, day, day, 1234.5, None))
    made.append(Funding(*ids, day, day, 0.0001, 8.0, day + 1, 60_000.0, 60_001.0))
    hole = start + 10 * 60_000_000
    made.append(Gap(*ids, hole, hole, "trades", "30", "31", hole, hole + 1, "test", "open", 2, 0, "", hole))
    return made


async def tell(stack, data_dir, start):
    """Publish the story, and wait until tables and Redis hold all of it."""
    nats = await bus.connect(stack.settings, "admin")
    context = nats.jetstream()
    for stream in STREAMS:
        for consumer in await context.consumers_info(stream):
            with suppress(NotFoundError):
                await context.delete_consumer(stream, consumer.name)
        await context.purge_stream(stream)
    own = msgspec.structs.replace(stack.settings, data_dir=str(data_dir))
    cache = aioredis.Redis.from_url(own.redis.url, socket_timeout=5)
    await cache.flushdb()
    entry = Instrument(
        EXCHANGE, SYMBOL, "BTCUSDT", "BTC", "USDT", "USDT", "spot", False, 1.0, 0.5, 0.0001, valid_from=1
    )
    bucket = await context.key_value(BUCKET_INSTRUMENTS)
    await bucket.put(f"{EXCHANGE}.{SYMBOL}", instruments.encode(entry))
    for event in story(start):
        await nats.publish(event_subject(event), payload([event]), headers={HEADER_ID: event_message_id(event)})
    await nats.flush()
    stop, health = asyncio.Event(), {}
    logins = [await bus.connect(own, role) for role in ("consumer", "signal")]
    tasks = [
        asyncio.create_task(consumers_run.consume([], own, logins[0], stop, {})),
        asyncio.create_task(signals_run.signal([], own, logins[1], cache, stop, health)),
    ]
    questdb = Questdb(own.questdb.pg)

    async def stored():
        counts = []
        for table in ("candles", "trades", "books", "liquidations", "klines", "open_interest", "funding", "gaps"):
            sql = f"SELECT count() FROM {table} WHERE exchange = $1 AND timestamp >= $2::long::timestamp"
            counts.append((await questdb.fetch(sql, EXCHANGE, start))[0][0])
        seen.append(counts)
        return counts == [MINUTES, 3 * MINUTES, 1, 1, 1, 1, 1, 1] and await summed()

    async def summed():
        """Whether the sum, whose only member it is, has all candles that Redis keeps."""
        for interval in ("1m", "5m", "1h"):
            held = [await cache.zcard(f"footprint:{who}:{interval}:closed") for who in (f"{EXCHANGE}:{SYMBOL}", SUM)]
            seen.append(held)
            if held[0] != held[1] or not held[0]:
                return False
        return await cache.exists(f"cvd:{EXCHANGE}:{SYMBOL}")

    seen = []
    try:
        await eventually(stored, "the story is in the tables", 180)
    except AssertionError as error:
        raise AssertionError(f"rows {seen[-1]}, engine {health}") from error
    stop.set()
    await asyncio.gather(*tasks)
    await questdb.close()
    for login in (*logins, nats):
        await login.close()
    await cache.aclose()
