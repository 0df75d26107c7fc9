"""The signal worker on real servers: whatever is stopped, killed, flushed or sent twice, the keys come out equal."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio as aioredis
from nats.aio.client import Client
from redis.exceptions import RedisError

from consumers import _run as consumers_run
from consumers._questdb import query
from flowtape import bus
from flowtape.migrate import provision
from schemas import instruments
from schemas.candles import decode
from schemas.detections import decode as decode_detection
from schemas.events import Gap
from schemas.names import HEADER_ID, WORD, event_message_id, event_subject, payload
from schemas.settings import LargeTradeSettings, Settings, SignalsSettings, SweepSettings
from signals import _run, ranges
from signals._decode import Message
from signals._layout import DAY
from signals._tables import Tables
from tests.conftest import Stack, started
from tests.signal_streams import SYMBOLS, Machine, instrument, messages, stream

MARK = "watermark:redis-footprint"
UNTIL_S = 180


async def _until(there: Callable[[], Any]) -> None:
    """Poll until ``there()`` (or what it awaits) is true."""
    async with asyncio.timeout(UNTIL_S):
        while True:
            found = there()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.05)


class Bench:
    """A purged stream, an empty Redis, a data directory of its own, and workers on them."""

    def __init__(self, stack: Stack, nats: Client, cache: aioredis.Redis, data_dir: Path) -> None:
        self.stack, self.nats, self.cache, self.data_dir = stack, nats, cache, data_dir
        self.settings: Settings = msgspec.structs.replace(stack.settings, data_dir=str(data_dir))
        self.health: dict[str, Any] = {}

    async def publish(self, batch: list[Message]) -> None:
        """Store messages in the log, in order."""
        for message in batch:
            await self.nats.publish(message.subject, message.payload)
        await self.nats.flush()

    async def begin(self) -> int:
        """The sequence the stream's next message will have."""
        return (await self.nats.jetstream().stream_info(WORD["trade"].stream)).state.last_seq + 1

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[dict[str, Any]]:
        """A running worker, stopped cleanly on the way out."""
        connection = await bus.connect(self.settings, "signal")
        stop, self.health = asyncio.Event(), {}
        work = asyncio.create_task(_run.signal([], self.settings, connection, self.cache, stop, self.health))
        try:
            yield self.health
        finally:
            stop.set()
            await work
            await connection.close()

    async def reached(self, sequence: int) -> None:
        """Until Redis holds the state of ``sequence``, whole."""

        async def there() -> bool:
            try:
                held = int(await self.cache.hget(MARK, "sequence") or 0)
            except RedisError:
                return False
            return held >= sequence and not self.health.get("behind", 0)

        await _until(there)

    async def keys(self) -> dict[bytes, Any]:
        """Everything in Redis that is a function of the stream."""
        found: dict[bytes, Any] = {}
        for name in await self.cache.keys("*"):
            if name.startswith((b"footprint:", b"profile:", b"cvd:", b"vwap:", b"detections:", b"zones:")):
                if await self.cache.type(name) == b"zset":
                    members = await self.cache.zrange(name, 0, -1, withscores=True)
                    found[name] = {int(score): text for text, score in members}
                else:
                    found[name] = await self.cache.get(name)
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers of this file's own: the engine begins from the tables, so rows of other tests would be its past."""
    with started(tmp_path_factory.mktemp("signals")) as running:
        yield running


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Stack:
    """The file's own servers with their streams and tables."""
    asyncio.run(provision(stack.settings, lambda _line: None))
    return stack


@pytest.fixture
async def bench(stack: Stack, nats: Client, tmp_path: Path) -> AsyncIterator[Bench]:
    cache = aioredis.Redis.from_url(stack.redis_url)
    await cache.flushall()
    bucket = await nats.jetstream().key_value("instruments")
    for who in SYMBOLS:
        await bucket.put(".".join(who), instruments.encode(instrument(*who)))
    try:
        yield Bench(stack, nats, cache, tmp_path / "engine")
    finally:
        for who in SYMBOLS:
            await bucket.purge(".".join(who))
        await cache.aclose()


def _numbered(batch: list[Message], first: int) -> list[Message]:
    return [Message(message.subject, message.payload, first + n) for n, message in enumerate(batch)]


def _expected(batch: list[Message], cut: int = 100) -> dict[bytes, Any]:
    machine = Machine()
    for at in range(0, len(batch), cut):
        machine.feed(batch[at : at + cut])
    return machine.keys()


def _same(found: dict[bytes, Any], wanted: dict[bytes, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == value, name


async def test_keys_are_a_function_of_the_stream_through_restarts_flushall_and_rebuild(bench: Bench) -> None:
    first = await bench.begin()
    batch = _numbered(messages(stream(7, 3_000), 7), first)
    parts = [batch[: len(batch) // 3], batch[len(batch) // 3 : -200], batch[-200:]]
    last = first - 1
    for n, part in enumerate(parts):
        async with bench.worker():
            await bench.publish(part)
            last += len(part)
            await bench.reached(last)
            if n == 1:
                await bench.cache.flushall()
                await bench.reached(last)
    wanted = _expected(batch)
    _same(await bench.keys(), wanted)
    await bench.cache.flushall()
    shutil.rmtree(bench.data_dir)
    async with bench.worker() as health:
        await bench.reached(last)
        assert health["holes"] == 0
    _same(await bench.keys(), wanted)


async def test_a_killed_worker_goes_on_where_its_snapshot_was(bench: Bench) -> None:
    first = await bench.begin()
    batch = _numbered(messages(stream(11, 4_000), 11), first)
    script = (
        "import asyncio, sys, msgspec, redis.asyncio as r\n"
        "from flowtape import bus\nfrom schemas.settings import load\nfrom signals import _run\n"
        "async def main():\n"
        " s = load(sys.argv[1], {}); n = await bus.connect(s, 'signal')\n"
        " await _run.signal([], s, n, r.Redis.from_url(s.redis.url), asyncio.Event(), {})\n"
        "asyncio.run(main())\n"
    )
    settings = bench.settings
    text = (
        f'data_dir = "{settings.data_dir}"\nnats.url = "{settings.nats.url}"\nredis.url = "{settings.redis.url}"\n'
        f'questdb.pg = "{settings.questdb.pg}"\nsignals.snapshot = "200ms"\n'
    )
    for n in range(3):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, text)
        await bench.publish(batch[n * 1000 : (n + 1) * 1000])
        await bench.reached(first + n * 1000 + 300)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    await bench.publish(batch[3000:])
    async with bench.worker():
        await bench.reached(batch[-1].sequence)
    _same(await bench.keys(), _expected(batch))


async def test_a_killed_redis_is_filled_again_when_it_is_back(bench: Bench, own_stack: Stack) -> None:
    """Its own servers: this one kills Redis."""
    cache = aioredis.Redis.from_url(own_stack.redis_url)
    bench.settings = msgspec.structs.replace(bench.settings, redis=own_stack.settings.redis)
    bench.cache = cache
    first = await bench.begin()
    batch = _numbered(messages(stream(13, 1_500), 13), first)
    async with bench.worker() as health:
        await bench.publish(batch[:500])
        await bench.reached(first + 499)
        own_stack.kill("redis")
        await bench.publish(batch[500:])
        await _until(lambda: health.get("redis_error") and health["sequence"] >= batch[-1].sequence)
        own_stack.start()
        await _until(lambda: not health["redis_error"])
        await bench.reached(batch[-1].sequence)
    _same(await bench.keys(), _expected(batch))
    await cache.aclose()


async def test_a_redis_out_of_memory_is_reported_and_whole_again_when_it_has_room(
    bench: Bench, own_stack: Stack
) -> None:
    """Its own servers: this one takes the memory away from Redis."""
    cache = aioredis.Redis.from_url(own_stack.redis_url)
    bench.settings = msgspec.structs.replace(bench.settings, redis=own_stack.settings.redis)
    bench.cache = cache
    first = await bench.begin()
    batch = _numbered(messages(stream(31, 1_500), 31), first)
    async with bench.worker() as health:
        await bench.publish(batch[:500])
        await bench.reached(first + 499)
        await cache.config_set("maxmemory-policy", "noeviction")
        await cache.config_set("maxmemory", "1")
        await bench.publish(batch[500:])
        await _until(lambda: "maxmemory" in health.get("redis_error", "") and health["sequence"] >= batch[-1].sequence)
        await cache.config_set("maxmemory", "0")
        await _until(lambda: not health["redis_error"])
        await bench.reached(batch[-1].sequence)
    _same(await bench.keys(), _expected(batch))
    await cache.aclose()


async def test_closed_candles_are_published_with_ids_that_end_in_the_revision(bench: Bench) -> None:
    first = await bench.begin()
    batch = _numbered(messages(stream(17, 2_000), 17), first)
    async with bench.worker():
        await bench.publish(batch)
        await bench.reached(batch[-1].sequence)
    keys = await bench.keys()
    context = bench.nats.jetstream()
    reader = await context.subscribe("sig.footprint.*.*.1m", ordered_consumer=True)
    newest: dict[tuple[str, str, int], Any] = {}
    for _ in range((await context.stream_info("SIGNALS")).state.messages):
        try:
            message = await reader.next_msg(timeout=2)
        except TimeoutError:
            break
        candle = decode(message.data)
        assert message.headers[HEADER_ID].endswith(f":1m:{candle.timestamp}:{candle.revision}")
        assert len(candle.row_buys) == len(candle.row_sells) == len(candle.prices)
        assert sum(candle.row_buys) == candle.buy_trades
        newest[candle.exchange, candle.symbol, candle.timestamp] = candle
    await reader.unsubscribe()
    for (exchange, symbol, timestamp), candle in newest.items():
        shown = keys[f"footprint:{exchange}:{symbol}:1m:closed".encode()].get(timestamp)
        if shown is not None:
            kept = decode(shown)
            assert (kept.revision, kept.prices, kept.buys, kept.sells) == (
                candle.revision, candle.prices, candle.buys, candle.sells,
            )  # fmt: skip
    assert newest


async def test_trades_beyond_the_horizon_come_from_the_table(bench: Bench) -> None:
    first = await bench.begin()
    made = stream(19, 1_200, wild=False)
    early = [event for event in made if hasattr(event, "trade_id")][:600:7]
    # Some of the first minutes' trades arrive an hour after everything else.
    ahead = max(event.timestamp for event in made) + 3_600_000_000
    late = [msgspec.structs.replace(event, trade_id=f"9{event.trade_id}0", quantity=0.5) for event in early]
    ends = [
        msgspec.structs.replace(event, timestamp=ahead, trade_id=f"8{n}", received=ahead)
        for n, event in enumerate({(e.exchange, e.symbol): e for e in made if hasattr(e, "trade_id")}.values())
    ]
    batch = _numbered(messages([*made, *ends, *late], 19), first)
    consumer = await bus.connect(bench.settings, "consumer")
    stop = asyncio.Event()
    filling = asyncio.create_task(consumers_run.consume(["trades"], bench.settings, consumer, stop, {}))
    try:
        async with bench.worker() as health:
            await bench.publish(batch)
            await bench.reached(batch[-1].sequence)
            await _until(lambda: not health.get("marks", 1) and health["recomputed"] == len(late))
            await bench.reached(batch[-1].sequence)
            assert health["beyond_horizon"] == len(late)
        rows = await query(
            bench.settings.questdb.pg,
            "SELECT exchange, symbol, timestamp::long, sum(quantity), count() FROM trades "
            "WHERE timestamp < $1::long::timestamp SAMPLE BY 1m",
            ahead - ahead % 60_000_000,
        )
    finally:
        stop.set()
        await filling
        await consumer.close()
    keys = await bench.keys()
    assert rows
    revised = 0
    for exchange, symbol, timestamp, quantity, trades in rows:
        candle = decode(keys[f"footprint:{exchange}:{symbol}:1m:closed".encode()][timestamp])
        assert candle.trades == trades
        assert candle.buy + candle.sell == pytest.approx(quantity)
        assert sum(candle.buys) + sum(candle.sells) == pytest.approx(quantity)
        revised += candle.revision
    assert revised == len(late)
    for exchange, symbol in {row[:2] for row in rows}:
        total = sum(row[3] for row in rows if row[:2] == (exchange, symbol))
        hours = keys[f"footprint:{exchange}:{symbol}:1h:closed".encode()].values()
        assert sum(decode(text).buy + decode(text).sell for text in hours) == pytest.approx(total)


async def test_what_the_log_no_longer_holds_comes_from_the_tables(bench: Bench) -> None:
    first = await bench.begin()
    made = stream(23, 6_000, start=20_400 * DAY + 1_000_000, wild=False)
    batch = _numbered(messages(made, 23), first)
    consumer = await bus.connect(bench.settings, "consumer")
    stop, health = asyncio.Event(), {}
    words = ["trades", "candles", "footprints"]
    filling = asyncio.create_task(consumers_run.consume(words, bench.settings, consumer, stop, health))
    try:
        async with bench.worker() as its:
            await bench.publish(batch)
            await bench.reached(batch[-1].sequence)
            await asyncio.sleep(1)
            published = its["published"]
        assert published
        before = await bench.keys()
        assert any(name.endswith(b":1m:closed") for name in before)

        async def stored() -> bool:
            left = [
                await bench.nats.jetstream().consumer_info(table.stream, f"questdb-{table.name}")
                for table in consumers_run.chosen(words)
            ]
            return not any(info.num_pending or info.num_ack_pending for info in left)

        await _until(stored)
    finally:
        stop.set()
        await filling
        await consumer.close()
    await bench.cache.flushall()
    await _answered_from_the_table(bench, before)
    await bench.nats.jetstream().purge_stream(WORD["trade"].stream, seq=batch[len(batch) // 2].sequence)
    await bench.cache.flushall()
    shutil.rmtree(bench.data_dir)
    async with bench.worker() as its:
        await bench.reached(batch[-1].sequence)
    after = await bench.keys()
    for name, value in before.items():
        if name.endswith(b":1m:closed"):
            assert after[name] == value, name
        elif b":10s" not in name and name.startswith(b"footprint:") and not name.endswith(b":closed"):
            assert decode(after[name]).buys == decode(value).buys, name
            assert decode(after[name]).cvd == decode(value).cvd, name


async def _answered_from_the_table(bench: Bench, before: dict[bytes, Any]) -> None:
    """With Redis empty: any range comes from the table, and ``once`` writes the same minutes again."""
    tables, compared = Tables(bench.settings.questdb.pg), 0
    for name, members in before.items():
        if name.endswith(b":1m:closed"):
            _, exchange, symbol, *_ = name.decode().split(":")
            candles = [decode(text) for text in members.values()]
            begin, end = min(members), max(members) + 60_000_000
            found = await ranges.profile(bench.cache, tables, exchange, symbol, begin, end)
            assert found.buy == pytest.approx(sum(candle.buy for candle in candles))
            assert sum(found.sells) == pytest.approx(sum(candle.sell for candle in candles))
            compared += len(candles)
    tables.close()
    assert compared
    connection = await bus.connect(bench.settings, "signal")
    names = ["footprint", "profile", "vwap"]
    await _run.signal(names, bench.settings, connection, bench.cache, asyncio.Event(), {}, once=True)
    await connection.close()
    after = await bench.keys()
    assert await bench.cache.get(MARK) is None
    for name, value in before.items():
        if name.endswith(b":1m:closed"):
            assert after[name] == value, name
    assert any(name.startswith(b"vwap:") for name in after)
    await bench.cache.flushall()


async def test_detections_are_published_once_through_restarts_and_a_rebuild(bench: Bench) -> None:
    loud = SignalsSettings(
        sweep=SweepSettings(quantile=0.0, levels=2, within=5_000_000),
        large_trade=LargeTradeSettings(quantile=0.0, notional=60_000.0),
    )
    bench.settings = msgspec.structs.replace(bench.settings, signals=loud)
    start = 20_600 * DAY + 1_000_000
    batch = _numbered(messages(stream(29, 2_000, start=start, wild=False), 29), await bench.begin())
    again = 0
    for part in (batch[:1_000], batch[1_000:], []):
        if not part:
            await bench.cache.flushall()
            shutil.rmtree(bench.data_dir)
        async with bench.worker() as health:
            await bench.publish(part)
            await bench.reached(part[-1].sequence if part else batch[-1].sequence)
        again = health["detections_again"]
    machine = Machine(sweep=loud.sweep, large_trade=loud.large_trade)
    machine.feed(batch)
    context, found = bench.nats.jetstream(), []
    for signal_name in ("sweep", "large_trade", "unfinished"):
        reader = await context.subscribe(f"sig.{signal_name}.>", ordered_consumer=True)
        with contextlib.suppress(TimeoutError):
            while True:
                found.append((await reader.next_msg(timeout=1)).data)
        await reader.unsubscribe()
    found = [one for one in map(decode_detection, found) if one.as_of >= start]
    wanted = [one for one in machine.core.watch.outgoing if one.signal in ("sweep", "large_trade", "unfinished")]
    key = msgspec.json.encode
    assert sorted(map(key, found)) == sorted(map(key, wanted))
    assert len(wanted) > 50
    assert again > len(wanted) // 2


async def _complete(bench: Bench) -> dict[tuple[str, str, int], bool]:
    """The symbol's minutes as the table has them."""
    sql = "SELECT exchange, symbol, timestamp::long, complete FROM candles WHERE timestamp < $1::long::timestamp"
    rows = await query(bench.settings.questdb.pg, sql, GAPS_DAY + DAY)
    return {(exchange, symbol, at): complete for exchange, symbol, at, complete in rows if at >= GAPS_DAY}


def _shown(keys: dict[bytes, Any]) -> dict[tuple[str, str, int], bool]:
    closed = [value.values() for name, value in keys.items() if name.endswith(b":1m:closed")]
    candles = [decode(text) for texts in closed for text in texts]
    whose = {(candle.exchange, candle.symbol, candle.timestamp): candle.complete for candle in candles}
    return {who: complete for who, complete in whose.items() if who[2] >= GAPS_DAY}


GAPS_DAY = 20_500 * DAY


async def test_gaps_reach_keys_and_tables_through_restarts_and_a_rebuild(bench: Bench) -> None:
    for table in ("candles", "footprints"):  # without what other tests have stored of the same symbols
        await query(bench.settings.questdb.pg, f"TRUNCATE TABLE {table}")
    first = await bench.begin()
    made = stream(29, 4_000, start=GAPS_DAY + 1_000_000, wild=False)
    batch = _numbered(messages(made, 29), first)
    exchange, symbol = SYMBOLS[0]
    own = [e.timestamp for e in made if hasattr(e, "trade_id") and (e.exchange, e.symbol) == (exchange, symbol)]
    minutes = sorted({at - at % 60_000_000 for at in own})
    wide, narrow = minutes[1:4], minutes[6]

    async def tell(begin: int, end: int, status: str, revision: int) -> None:
        event = Gap(
            exchange,
            symbol,
            begin,
            end,
            "trades",
            "1",
            "2",
            begin,
            end,
            "skipped",
            status,
            2,
            0,
            "",
            end + revision,
            revision,
        )
        headers = {HEADER_ID: event_message_id(event)}
        await bench.nats.jetstream().publish(event_subject(event), payload([event]), headers=headers)

    async def shows(missing: set[int]) -> None:
        """Until keys and table say that these minutes, and no others, are incomplete."""

        async def there() -> bool:
            stored, shown = await _complete(bench), _shown(await bench.keys())
            wrong = {(exchange, symbol, at) for at in missing}
            closed = {who for who, complete in shown.items() if not complete}
            return closed == wrong and stored == shown

        await _until(there)

    consumer = await bus.connect(bench.settings, "consumer")
    stop = asyncio.Event()
    filling = asyncio.create_task(
        consumers_run.consume(["trades", "candles", "footprints", "gaps"], bench.settings, consumer, stop, {})
    )
    try:
        await tell(wide[0] + 30_000_000, wide[2] + 5, "open", 0)
        async with bench.worker():
            await bench.publish(batch)
            await bench.reached(batch[-1].sequence)
            await shows(set(wide))
            await tell(narrow, narrow, "open", 0)
            await shows({*wide, narrow})
        await tell(wide[0] + 30_000_000, wide[2] + 5, "filled", 1)
        async with bench.worker() as health:
            await shows({narrow})
            assert health["gaps_bad"] == 0
            before = await bench.keys()
        await bench.cache.flushall()
        shutil.rmtree(bench.data_dir)
        async with bench.worker():
            await bench.reached(batch[-1].sequence)
            await shows({narrow})
            after = await bench.keys()
            for name, value in before.items():
                assert not name.endswith(b":1m:closed") or after[name] == value, name
        # What neither log holds any more comes from the tables.
        settled = "SELECT count() FROM gaps WHERE timestamp >= $1::long::timestamp AND status = 'filled'"

        async def kept() -> bool:
            return bool((await query(bench.settings.questdb.pg, settled, GAPS_DAY))[0][0])

        await _until(kept)
        await bench.nats.jetstream().purge_stream(WORD["gap"].stream)
        await bench.nats.jetstream().purge_stream(WORD["trade"].stream, seq=batch[-100].sequence)
        await bench.cache.flushall()
        shutil.rmtree(bench.data_dir)
        async with bench.worker():
            await bench.reached(batch[-1].sequence)
            await shows({narrow})
            await tell(narrow, narrow, "nonexistent", 1)
            await shows(set())
    finally:
        stop.set()
        await filling
        await consumer.close()
