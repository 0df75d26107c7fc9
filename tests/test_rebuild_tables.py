"""Rows taken away are there again after ``flowtape rebuild tables``, each once, while live data flows."""

from __future__ import annotations

import asyncio
import time as clocks
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from nats.aio.client import Client

from consumers import klines, trades
from consumers._batch import Batch
from consumers._questdb import Questdb, query
from consumers._rebuild import Rebuild
from consumers._run import clock
from flowtape.cli import cli
from schemas import time
from schemas.events import Event, Kline
from schemas.time import DAY, HOUR, MINUTE, SECOND
from tests.conftest import Stack, own_migrated
from tests.consuming import consuming, new_symbol, now, publish, rows, trade, until, until_rows
from tests.harness import Command, environment

TIMES = "timestamp::long, received::long"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Stack:
    return stack


def _day() -> int:
    """The start of a day that is over."""
    return time.floor(now(), DAY) - 3 * DAY


def _kline(symbol: str, n: int, revision: int = 0) -> Kline:
    at = _day() + n * MINUTE
    return Kline("binance", symbol, at, at + MINUTE + revision, "1m", 1.0, 2.0, 0.5, 1.5, 3.0 + revision, 4.0, 5, "ws",
                 revision)  # fmt: skip


def _past(symbol: str, count: int, **fields: Any) -> list[Event]:
    return [trade(symbol, n, timestamp=_day() + HOUR + n * SECOND, **fields) for n in range(count)]


async def _stored(stack: Stack, table: str, symbol: str) -> list[tuple[Any, ...]]:
    what = f"{TIMES}, exchange, symbol, trade_id, price, quantity, value, is_buyer_maker, fills"
    if table == "klines":
        what = f"{TIMES}, exchange, symbol, interval, open, high, low, close, volume, value, trades, source, revision"
    return sorted(await query(stack.questdb_pg, f"SELECT {what} FROM {table} WHERE symbol = $1", symbol), key=repr)


async def _drop(stack: Stack, table: str, symbol: str) -> None:
    day = time.iso(_day())[:10]
    await query(stack.questdb_pg, f"ALTER TABLE {table} DROP PARTITION LIST '{day}'")

    async def gone() -> bool:
        found = await rows(
            stack, f"SELECT count() FROM {table} WHERE symbol = $1 AND timestamp < '{day}T23:59'", symbol
        )
        return found == [(0,)]

    await until(gone, f"the rows of {table} are gone")


@asynccontextmanager
async def _flowing(nats: Client, symbol: str) -> AsyncIterator[list[Event]]:
    """Trades of now, one every few milliseconds, until the end; yields what has been sent."""
    sent: list[Event] = []

    async def flow() -> None:
        while True:
            sent.append(trade(symbol, len(sent)))
            await publish(nats, sent[-1])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(flow())
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ended(command: Command) -> int:
    async def over() -> bool:
        return command.process.poll() is not None

    await until(over, "the command ends")
    return command.process.returncode


def _rebuild(
    stack: Stack, nats: Client, table: Any, stop: asyncio.Event, told: Any = None
) -> tuple[Rebuild[Any], Questdb]:
    questdb = Questdb(stack.questdb_pg)
    consumer = msgspec.structs.replace(stack.settings.consumer, rows=1_000)
    settings = msgspec.structs.replace(stack.settings, consumer=consumer)
    made: Rebuild[Any] = Rebuild(
        table, settings, nats, questdb, _day(), _day() + DAY, stop=stop, told=told or (lambda *_: None),
        clock=clock, monotonic=clocks.monotonic,
    )  # fmt: skip
    return made, questdb


async def test_a_dropped_partition_is_there_again_and_nothing_twice_while_live_data_flows(
    stack: Stack, nats: Client
) -> None:
    symbol, live = new_symbol(), new_symbol()
    past = _past(symbol, 900)
    async with consuming(stack, nats, "trades", "klines"), _flowing(nats, live) as sent:
        await publish(nats, past[:300], *past[300:400], past[400:], *(_kline(symbol, n) for n in range(60)))
        await publish(nats, *(_kline(symbol, n, 1) for n in range(0, 60, 7)))
        await until_rows(stack, 900, "trades", symbol)

        async def corrected() -> bool:
            found = await rows(stack, "SELECT sum(revision), count() FROM klines WHERE symbol = $1", symbol)
            return found == [(9, 60)]

        await until(corrected, "corrected candles are in the table")
        before = {table: await _stored(stack, table, symbol) for table in ("trades", "klines")}
        for table in before:
            await _drop(stack, table, symbol)
        day = time.iso(_day())[:10]
        flowed = len(sent)
        command = Command(stack, "rebuild", "tables", "trades", "klines", "--from", day, "--to", f"{day}T12:00")
        state = (await nats.jetstream().stream_info("MD_TRADE")).state
        purged = state.first_seq > 1  # by a test before this one: who knows what was in it
        assert await _ended(command) == purged, command.output()
        assert len(sent) > flowed, "not run: nothing came in meanwhile"
        assert "trades: 900 rows of 900 events" in command.output()
        for table, wanted in before.items():
            await until_rows(stack, len(wanted), table, symbol)
            assert await _stored(stack, table, symbol) == wanted
    await until_rows(stack, len(sent), "trades", live)
    ids = await rows(stack, "SELECT trade_id FROM trades WHERE symbol = $1", live)
    assert sorted(int(row[0]) for row in ids) == list(range(len(sent)))


async def test_rows_that_are_there_stay_as_they_are(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades", "klines"):
        await publish(nats, *_past(symbol, 20), *(_kline(symbol, 3, n) for n in (0, 2, 1)))
        await until_rows(stack, 20, "trades", symbol)
        await until_rows(stack, 1, "klines", symbol)
        before = [await _stored(stack, table, symbol) for table in ("trades", "klines")]
    for table in (trades.TABLE, klines.TABLE):
        made, questdb = _rebuild(stack, nats, table, asyncio.Event())
        done = await made.run()
        await questdb.close()
        assert done.whole
    assert [await _stored(stack, table, symbol) for table in ("trades", "klines")] == before
    assert before[1][0][-1] == 2


async def test_a_correction_that_is_stored_while_an_older_version_is_written_again_stays(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    await publish(nats, _kline(symbol, 1))
    made, questdb = _rebuild(stack, nats, klines.TABLE, asyncio.Event())
    write, raced = made._store.write, []

    async def overtaken(batch: Batch[Kline]) -> None:
        """The live consumer is faster than we are, once."""
        if not raced and any(event.symbol == symbol for event in batch.events):
            raced.append(symbol)
            async with consuming(stack, nats, "klines"):
                await publish(nats, _kline(symbol, 1, 1))
                await until(lambda: rows(stack, "SELECT 1 FROM klines WHERE symbol = $1 AND revision = 1", symbol))
        await write(batch)

    made._store.write = overtaken  # type: ignore[method-assign]
    done = await made.run()
    await questdb.close()
    assert raced, "not run: nothing was corrected meanwhile"
    assert done.whole

    async def newest() -> bool:
        return await rows(stack, "SELECT revision, volume FROM klines WHERE symbol = $1", symbol) == [(1, 4.0)]

    await until(newest, "the correction is what the table holds")


async def test_stopped_halfway_it_leaves_nothing_behind_and_the_next_run_ends_it(stack: Stack, nats: Client) -> None:
    symbol, stop = new_symbol(), asyncio.Event()
    many = _past(symbol, 12_000)
    await publish(nats, *(many[n : n + 400] for n in range(0, len(many), 400)))
    made, questdb = _rebuild(stack, nats, trades.TABLE, stop, lambda *_: stop.set())
    first = await made.run()
    assert not first.whole
    assert 0 < first.events < 12_000, "not run: it was over before it was stopped"
    left = [info.name for info in await nats.jetstream().consumers_info("MD_TRADE")]
    assert not [name for name in left if name.startswith("rebuild-")]
    made, again = _rebuild(stack, nats, trades.TABLE, asyncio.Event())
    assert (await made.run()).whole
    await until_rows(stack, 12_000, "trades", symbol)
    assert await rows(stack, "SELECT count() FROM trades WHERE symbol = $1", symbol) == [(12_000,)]
    for each in (questdb, again):
        await each.close()


async def test_what_the_log_no_longer_has_is_named_and_a_range_of_nothing_is_an_error(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    await publish(nats, *_past(symbol, 40))
    await nats.jetstream().purge_stream("MD_TRADE", seq=(await _last(nats)) - 9)
    day = time.iso(_day())[:10]
    found = await asyncio.to_thread(_run, stack, "trades", "--from", day, "--to", f"{day}T12:00")
    assert found.exit_code == 1
    assert "trades: 10 rows of 10 events" in found.output
    assert f"trades: not covered: {day}T00:00:00.000000Z to {day}T12:00:00.000000Z" in found.output
    found = await asyncio.to_thread(_run, stack, "funding", "--from", "2015-01-01", "--to", "2015-01-02")
    assert found.exit_code == 1
    assert "the log has nothing of 2015-01-01T00:00:00.000000Z to" in found.output


async def _last(nats: Client) -> int:
    last: int = (await nats.jetstream().stream_info("MD_TRADE")).state.last_seq
    return last


def _run(stack: Stack, *arguments: str) -> Any:
    # in a process of its own: a worker takes over the signals of the one it runs in
    import subprocess
    import sys
    from types import SimpleNamespace

    done = subprocess.run(
        [sys.executable, "-m", "flowtape", "rebuild", "tables", *arguments], env=environment(stack.settings),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return SimpleNamespace(exit_code=done.returncode, output=done.stdout + done.stderr)


def test_a_range_that_ends_before_it_begins_and_an_unknown_table_are_usage_errors() -> None:
    for arguments in (("--from", "2026-01-02", "--to", "2026-01-01"), ("--from", "soon"), ("--from", "2999-01-01"), ()):
        assert CliRunner().invoke(cli, ["rebuild", "tables", *arguments]).exit_code == 2, arguments
    found = CliRunner().invoke(cli, ["rebuild", "tables", "ticks", "--from", "2026-01-01"])
    assert found.exit_code == 2
    assert "no such table" in found.output
