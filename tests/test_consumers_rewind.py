"""Rows QuestDB had acknowledged and lost are read from the log again, by themselves."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from consumers import _loop
from consumers._questdb import query
from consumers._rewind import Loss, Step, loss, noted, unclean_start
from flowtape import bus, servers
from flowtape.migrate import migrate
from schemas.time import DAY, HOUR, MINUTE, SECOND
from tests.conftest import Stack
from tests.consuming import consuming, new_symbol, publish, rows, trade, until, until_health, until_rows

WINDOW = 5 * MINUTE
STEPS = [Step(n * MINUTE, 100 * n, 10 * n) for n in range(1, 11)]


def test_an_unclean_start_goes_back_by_the_window_before_the_last_write_and_a_clean_one_nowhere() -> None:
    assert loss(STEPS, 100, False, WINDOW) is None
    assert loss(STEPS, 120, True, WINDOW) == Loss("unclean_start", 501)
    assert loss(STEPS[6:], 100, True, WINDOW) == Loss("unclean_start", None)
    assert loss([], 0, True, WINDOW) == Loss("unclean_start", None)
    assert loss([], 0, False, WINDOW) is None


def test_a_table_with_fewer_transactions_goes_back_to_where_it_was_then() -> None:
    assert loss(STEPS, 99, False, WINDOW) == Loss("transactions", 501)
    assert loss(STEPS, 25, False, WINDOW) == Loss("transactions", 201)
    assert loss(STEPS, 5, False, WINDOW) == Loss("transactions", None)


def test_steps_are_kept_dense_for_the_window_and_hourly_before_it() -> None:
    steps: list[Step] = []
    for n in range(3 * 360):
        steps = noted(steps, Step(n * 10 * SECOND, n, n), WINDOW)
    assert len(steps) < 80
    assert [step.time // HOUR for step in steps[:3]] == [0, 1, 2]
    last = steps[-1].time
    assert sum(step.time >= last - WINDOW for step in steps) == WINDOW // (10 * SECOND) + 1


@pytest.fixture
async def own_nats(own_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(_loop, "CHECK_EVERY_S", 0.2)
    client = await bus.connect(own_stack.settings, "admin")
    await migrate(own_stack.settings, client)
    yield client
    await client.close()


async def _filled(stack: Stack, nats: Client, symbol: str) -> None:
    """Thirty rows, all acknowledged to the log, and noted as written."""
    async with consuming(stack, nats, "trades"):
        await publish(nats, trade(symbol, 0, timestamp=trade(symbol, 0).timestamp - 2 * DAY))
        await publish(nats, *(trade(symbol, n) for n in range(1, 30)))
        await until_rows(stack, 30, "trades", symbol)

        async def acknowledged() -> bool:
            info = await nats.jetstream().consumer_info("MD_TRADE", "questdb-trades")
            return not info.num_pending and not info.num_ack_pending

        await until(acknowledged, "all is acknowledged")


async def test_rows_lost_by_a_killed_questdb_are_back_and_a_clean_start_rewinds_nothing(
    own_stack: Stack, own_nats: Client
) -> None:
    symbol = new_symbol()
    await _filled(own_stack, own_nats, symbol)
    own_stack.kill("questdb")

    async def dead() -> bool:
        return not servers.running(own_stack.data_dir)["questdb"].alive()

    await until(dead, "QuestDB is dead")
    own_stack.start()
    assert unclean_start(own_stack.data_dir), "not run: nobody noticed the kill"
    day = (await query(own_stack.questdb_pg, "SELECT to_str(max(timestamp), 'yyyy-MM-dd') FROM trades"))[0][0]
    await query(own_stack.questdb_pg, f"ALTER TABLE trades DROP PARTITION LIST '{day}'")

    async def lost() -> bool:
        return await rows(own_stack, "SELECT count() FROM trades WHERE symbol = $1", symbol) == [(1,)]

    await until(lost, "not run: the rows are still there")
    async with consuming(own_stack, own_nats, "trades") as health:
        await until_rows(own_stack, 30, "trades", symbol)
        await until_health(health, "trades", rewinds=1, holes=0)
    async with consuming(own_stack, own_nats, "trades") as health:
        await publish(own_nats, trade(symbol, 30))
        await until_rows(own_stack, 31, "trades", symbol)
        await until_health(health, "trades", rewinds=0, rows=1)


async def _stopped(stack: Stack) -> None:
    """QuestDB alone is stopped, cleanly and noted as such."""
    os.kill(stack.pid("questdb"), signal.SIGTERM)

    async def dead() -> bool:
        return not servers.running(stack.data_dir)["questdb"].alive()

    await until(dead, "QuestDB has stopped")
    (stack.data_dir / "questdb" / servers.CLEAN_STOP).touch()


async def test_an_older_copy_of_the_files_is_filled_up_from_where_it_was_taken(
    own_stack: Stack, own_nats: Client
) -> None:
    symbol = new_symbol()
    files, copy = own_stack.data_dir / "questdb", own_stack.data_dir / "older"
    await _filled(own_stack, own_nats, symbol)
    await _stopped(own_stack)
    shutil.copytree(files, copy)
    own_stack.start()
    async with consuming(own_stack, own_nats, "trades") as health:
        await publish(own_nats, *(trade(symbol, n) for n in range(30, 60)))
        await until_rows(own_stack, 60, "trades", symbol)
        await until_health(health, "trades", rewinds=0)
    await _stopped(own_stack)
    shutil.rmtree(files)
    copy.rename(files)
    own_stack.start()
    assert not unclean_start(own_stack.data_dir), "not run: the start was to look clean"
    assert await rows(own_stack, "SELECT count() FROM trades WHERE symbol = $1", symbol) == [(30,)]
    async with consuming(own_stack, own_nats, "trades") as health:
        await until_rows(own_stack, 60, "trades", symbol)
        await until_health(health, "trades", rewinds=1)
