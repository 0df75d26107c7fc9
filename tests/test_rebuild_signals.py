"""Keys of a range that are gone or wrong are what they were after ``flowtape rebuild signals``, byte for byte."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import redis.asyncio as aioredis
from click.testing import CliRunner
from nats.aio.client import Client

from consumers import _run as consumers_run
from consumers._questdb import query
from flowtape import bus
from flowtape.cli import cli
from schemas import instruments
from schemas.events import Event
from schemas.names import WORD
from schemas.settings import Settings
from schemas.time import HOUR, MINUTE, SECOND
from signals import _run
from signals._layout import DAY
from signals._rebuild import Rebuild, Rebuilt
from signals._state import Spans
from tests.conftest import Stack, own_migrated
from tests.consuming import until
from tests.harness import environment
from tests.signal_streams import SYMBOLS, instrument, messages, stream

Sets = dict[bytes, dict[int, bytes]]
MARK = "watermark:redis-footprint"
CLOSED = 5_000
"""Candles kept of a series: so many that none goes while a test runs."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Stack:
    return stack


class Bench:
    """An empty Redis, the instruments, and a data directory of its own."""

    def __init__(self, stack: Stack, nats: Client, cache: aioredis.Redis, settings: Settings) -> None:
        self.stack, self.nats, self.cache, self.settings = stack, nats, cache, settings

    async def publish(self, made: list[Event]) -> int:
        """Into the log; the last sequence then."""
        for message in messages(made, 5):
            await self.nats.publish(message.subject, message.payload)
        await self.nats.flush()
        last: int = (await self.nats.jetstream().stream_info(WORD["trade"].stream)).state.last_seq
        return last

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[dict[str, Any]]:
        """The live engine; its health."""
        connection, stop, health = await bus.connect(self.settings, "signal"), asyncio.Event(), dict[str, Any]()
        work = asyncio.create_task(_run.signal([], self.settings, connection, self.cache, stop, health))
        try:
            yield health
        finally:
            stop.set()
            await work
            await connection.close()

    async def reached(self, health: dict[str, Any], sequence: int) -> None:
        async def there() -> bool:
            held = int(await self.cache.hget(MARK, "sequence") or 0)
            return held >= sequence and not health.get("behind", 1)

        await until(there, f"the live engine has {sequence}")

    async def closed(self) -> Sets:
        """The closed candles of every series."""
        found: Sets = {}
        for name in await self.cache.keys("footprint:*:closed"):
            if not name.startswith(b"footprint:all:"):
                found[name] = {int(at): text for text, at in await self.cache.zrange(name, 0, -1, withscores=True)}
        return found

    async def rebuilt(self, begin: int, end: int) -> Rebuilt:
        connection = await bus.connect(self.settings, "signal")
        rebuild = Rebuild(
            self.settings, Spans(self.settings.signals.intervals), connection, self.cache, begin, end,
            told=lambda *_: None, wall=lambda: time.time_ns() // 1000, monotonic=time.monotonic,
        )  # fmt: skip
        try:
            return await rebuild.run(asyncio.Event())
        finally:
            await connection.close()


@pytest.fixture
async def bench(stack: Stack, nats: Client, tmp_path: Any) -> AsyncIterator[Bench]:
    cache = aioredis.Redis.from_url(stack.redis_url)
    await cache.flushall()
    for table in ("trades", "candles", "footprints"):
        await query(stack.questdb_pg, f"TRUNCATE TABLE {table}")
    bucket = await nats.jetstream().key_value("instruments")
    for who in SYMBOLS:
        await bucket.put(".".join(who), instruments.encode(instrument(*who)))
    signals = msgspec.structs.replace(stack.settings.signals, closed=CLOSED)
    settings = msgspec.structs.replace(stack.settings, data_dir=str(tmp_path / "engine"), signals=signals)
    yield Bench(stack, nats, cache, settings)
    for who in SYMBOLS:
        await bucket.purge(".".join(who))
    await cache.aclose()


async def _command(bench: Bench, *arguments: str) -> tuple[int | None, bytes, bytes]:
    """``flowtape rebuild signals``: exit code, output, complaints."""
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowtape", "rebuild", "signals", *arguments,
        env=environment(bench.stack.settings, FLOWTAPE_SIGNALS_CLOSED=str(CLOSED)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, complaints = await command.communicate()
    return command.returncode, printed, complaints


def _within(sets: Sets, begin: int, end: int) -> list[tuple[bytes, int]]:
    return [(name, at) for name, held in sets.items() for at in held if begin <= at < end]


def _changed(text: bytes, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(text) | fields)


def _near(made: list[Event]) -> list[Event]:
    """Without trades beyond the horizon: those wait for the table, which nobody fills here."""
    newest, kept = dict[str, int](), list[Event]()
    for event in made:
        newest[event.exchange] = max(newest.get(event.exchange, 0), event.timestamp)
        if event.timestamp > newest[event.exchange] - 9 * MINUTE:
            kept.append(event)
    return kept


async def test_candles_of_a_range_are_what_they_were_byte_for_byte_while_the_engine_goes_on(bench: Bench) -> None:
    day = 20_010 * DAY
    made = _near(stream(41, 2_500, start=day - 15 * MINUTE))
    half = len(made) * 2 // 3
    async with bench.worker() as health:
        await bench.reached(health, await bench.publish(made[:half]))
        before = await bench.closed()
        newest = max(at for held in before.values() for at in held)
        begin, end = day + HOUR, newest - HOUR
        inside = _within(before, begin, end)
        assert len(inside) > 200, "not run: nothing was computed"
        dice = random.Random(3)
        gone = set(dice.sample(inside, len(inside) // 2))
        outside = next(each for each in _within(before, 0, end) if each not in inside)
        left = [each for each in inside if each not in gone and each[0].endswith(b":1m:closed")]
        wrong, newer = left[0], left[1]
        for name, at in [*gone, outside, wrong, newer]:
            await bench.cache.zremrangebyscore(name, at, at)
        corrupt = _changed(before[wrong[0]][wrong[1]], buy=1e9)
        later = _changed(before[newer[0]][newer[1]], revision=10**6)
        await bench.cache.zadd(wrong[0], {corrupt: wrong[1]})
        await bench.cache.zadd(newer[0], {later: newer[1]})

        flowing = asyncio.create_task(bench.publish([e for e in made[half:] if e.timestamp >= newest]))
        done = await bench.rebuilt(begin, end)
        await flowing
        after = await bench.closed()
    assert (done.missing, done.differed, done.newer, done.asked) == (len(gone), 1, 1, [])
    assert done.whole
    assert not done.short_from
    assert not done.minutes_left
    for name, at in inside:
        if (name, at) != newer:
            assert after[name][at] == before[name][at], (name, at)
    assert after[newer[0]][newer[1]] == later
    assert outside[1] not in after[outside[0]]


async def test_a_range_that_ends_now_brings_every_key_back_through_the_command(bench: Bench) -> None:
    day = 20_020 * DAY
    async with bench.worker() as health:
        await bench.reached(health, await bench.publish(_near(stream(42, 1_200, start=day - 15 * MINUTE))))
        await asyncio.sleep(1.2)  # profiles are written once a second
        names = [n for n in await bench.cache.keys("*") if n.split(b":")[0] in (b"profile", b"cvd", b"vwap", b"zones")]
        before = {name: await bench.cache.get(name) for name in names}
        closed = await bench.closed()
        assert before, "not run: nothing was computed"
        await bench.cache.delete(*names, *closed)
        code, printed, complaints = await _command(bench, "--from", str(day))
        assert code == 0, complaints.decode()
        assert b"all keys of the present written again" in printed

        async def back() -> bool:
            return {name: await bench.cache.get(name) for name in names} == before and await bench.closed() == closed

        await until(back, "every key is what it was")


async def test_what_the_log_no_longer_has_comes_from_the_tables_and_nobody_is_waited_for_in_vain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 20_030 * DAY
    monkeypatch.setattr("signals._rebuild.OWNERS_WAIT_S", 0.5)
    consumer, stop = await bus.connect(bench.settings, "consumer"), asyncio.Event()
    words = ["trades", "candles", "footprints"]
    filling = asyncio.create_task(consumers_run.consume(words, bench.settings, consumer, stop, {}))
    # each once: a copy on the other side of where the log begins would not be known as one, as at any start
    made = list({id(event): event for event in stream(43, 3_000, start=day + SECOND, wild=False)}.values())
    async with bench.worker() as health:
        last = await bench.publish(made)
        await bench.reached(health, last)
    before = await bench.closed()
    minutes = sum(len(held) for name, held in before.items() if name.endswith(b":1m:closed"))

    async def stored() -> bool:
        rows = "SELECT count() FROM (SELECT DISTINCT exchange, symbol, timestamp FROM {})"
        counts = [await query(bench.stack.questdb_pg, rows.format(table)) for table in ("candles", "footprints")]
        return min(count[0][0] for count in counts) >= minutes

    await until(stored, "every minute is in the table")
    stop.set()
    await filling
    await consumer.close()
    first = (await bench.nats.jetstream().stream_info(WORD["trade"].stream)).state.first_seq
    await bench.nats.jetstream().purge_stream(WORD["trade"].stream, seq=(first + last) // 2)
    whole = {name: held for name, held in before.items() if not name.endswith(b":10s:closed")}
    await bench.cache.delete(*before)
    done = await bench.rebuilt(day, time.time_ns() // 1000)
    after = await bench.closed()
    assert {name: after.get(name) for name in whole} == whole
    assert day < done.short_from < made[-1].timestamp
    shorts = [name for name in before if name not in whole]
    for name in shorts:
        late = {at: text for at, text in before[name].items() if at >= done.short_from + MINUTE}
        assert late
        assert {at: after[name].get(at) for at in late} == late
    assert MARK in done.asked
    assert done.silent == done.asked, "no engine runs"
    shutil.rmtree(bench.settings.data_dir, ignore_errors=True)


async def test_a_range_nothing_is_known_of_is_an_error_that_says_so(bench: Bench) -> None:
    code, _, complaints = await _command(bench, "--from", "2015-01-01", "--to", "2015-01-02")
    assert code == 1
    assert b"neither log nor tables have a closed candle of that range" in complaints
    assert CliRunner().invoke(cli, ["rebuild", "signals", "--from", "2026-01-02", "--to", "2026-01-01"]).exit_code == 2
