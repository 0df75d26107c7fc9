"""Servers die, streams vanish, tables are suspended: afterwards every published id is one row, and it was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from consumers import _suspended
from consumers._questdb import query
from flowtape import bus
from flowtape.migrate import migrate
from schemas import names
from schemas.events import Trade
from tests.conftest import Stack
from tests.consuming import PATIENCE_S, consuming, new_symbol, publish, rows, trade, until, until_health, until_rows

TRADES = "questdb-trades"


@pytest.fixture
async def own_nats(own_stack: Stack) -> AsyncIterator[Client]:
    """An admin's connection to a stack this test may kill, migrated."""
    client = await bus.connect(own_stack.settings, "admin")
    await migrate(own_stack.settings, client)
    yield client
    await client.close()


async def _again(stack: Stack) -> None:
    await asyncio.to_thread(stack.start)


async def _publish_surely(nats: Client, trades: list[Trade]) -> None:
    """Publish each until it is acknowledged; what was stored without an answer is stored twice, and that is meant."""
    for one in trades:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await nats.jetstream().publish(names.event_subject(one), names.payload([one]), timeout=1)
                    break
                except (NatsError, TimeoutError):
                    await asyncio.sleep(0.1)


async def _ids(stack: Stack, symbol: str) -> list[tuple]:
    sql = "SELECT count(), count_distinct(trade_id), sum(quantity) FROM trades WHERE symbol = $1"
    return await query(stack.questdb_pg, sql, symbol)


async def test_nats_killed_in_the_middle_loses_and_doubles_no_row(own_stack: Stack, own_nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(own_stack, own_nats, "trades"):
        await _publish_surely(own_nats, [trade(symbol, number) for number in range(200)])
        publishing = asyncio.create_task(
            _publish_surely(own_nats, [trade(symbol, number) for number in range(200, 500)])
        )
        await asyncio.to_thread(own_stack.kill, "nats")
        assert not publishing.done(), "not run: nothing was left to publish when NATS died"
        await _again(own_stack)
        await publishing
        await until_rows(own_stack, 500, "trades", symbol)
    assert await _ids(own_stack, symbol) == [(500, 500, 250.0)]


async def test_questdb_killed_in_the_middle_is_waited_for_and_every_row_arrives(
    own_stack: Stack, own_nats: Client
) -> None:
    symbol = new_symbol()
    async with consuming(own_stack, own_nats, "trades") as health:
        await publish(own_nats, [trade(symbol, number) for number in range(100)])
        await until_rows(own_stack, 100, "trades", symbol)
        await asyncio.to_thread(own_stack.kill, "questdb")
        await publish(own_nats, *([trade(symbol, number) for number in range(n, n + 100)] for n in range(50, 950, 50)))

        async def held() -> bool:
            return bool(health["tables"]["trades"]["held"])

        await until(held, "the batch is held")
        info = await own_nats.jetstream().consumer_info(names.WORD["trades"].stream, TRADES)
        assert info.num_ack_pending, "nothing may be acked while QuestDB is away"
        await _again(own_stack)
        await until_rows(own_stack, 1000, "trades", symbol)
        await until_health(health, "trades", held="", lag=0)
    assert await _ids(own_stack, symbol) == [(1000, 1000, 500.0)]


async def test_stopping_while_questdb_is_away_acks_nothing_and_the_next_run_stores_it(
    own_stack: Stack, own_nats: Client
) -> None:
    symbol = new_symbol()
    async with consuming(own_stack, own_nats, "trades") as health:
        await publish(own_nats, trade(symbol, 0))
        await until_rows(own_stack, 1, "trades", symbol)
        await asyncio.to_thread(own_stack.kill, "questdb")
        await publish(own_nats, [trade(symbol, number) for number in range(1, 50)])

        async def held() -> bool:
            return bool(health["tables"]["trades"]["held"])

        await until(held, "the batch is held")
    await _again(own_stack)
    async with consuming(own_stack, own_nats, "trades"):
        await until_rows(own_stack, 50, "trades", symbol)
    assert await _ids(own_stack, symbol) == [(50, 50, 25.0)]


async def test_a_suspended_table_is_reported_and_resumed_with_all_its_rows(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("QDB_DEV_MODE_ENABLED", "true")  # SUSPEND WAL is for tests alone
    monkeypatch.setattr(_suspended, "EVERY_S", 0.5)
    own_stack: Stack = request.getfixturevalue("own_stack")
    client = await bus.connect(own_stack.settings, "admin")
    await migrate(own_stack.settings, client)
    symbol = new_symbol()
    async with consuming(own_stack, client, "trades") as health:
        await publish(client, trade(symbol, 0))
        await until_rows(own_stack, 1, "trades", symbol)
        seen: list[str] = []

        async def reported() -> bool:
            seen.extend(health["suspended"])
            return bool(seen)

        await query(own_stack.questdb_pg, "ALTER TABLE trades SUSPEND WAL")
        await publish(client, [trade(symbol, number) for number in range(1, 100)])
        await until(reported, "the suspension is reported")

        async def over() -> bool:
            return not health["suspended"]

        await until_rows(own_stack, 100, "trades", symbol)
        await until(over, "the suspension ends")
    assert "trades" in seen
    await client.close()


async def test_a_stream_made_anew_is_noticed_and_read_from_its_start(own_stack: Stack, own_nats: Client) -> None:
    symbol = new_symbol()
    jetstream = own_nats.jetstream()
    stream = names.WORD["trades"].stream
    async with consuming(own_stack, own_nats, "trades") as health:
        await publish(own_nats, *(trade(symbol, number) for number in range(20)))
        await until_rows(own_stack, 20, "trades", symbol)
        await jetstream.delete_stream(stream)
        await migrate(own_stack.settings, own_nats)
        await publish(own_nats, *(trade(symbol, number) for number in range(15, 30)))
        await until_rows(own_stack, 30, "trades", symbol)
        await until_health(health, "trades", regressed=1)
    assert await _ids(own_stack, symbol) == [(30, 30, 15.0)]


async def test_a_durable_that_is_deleted_is_made_again(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades"):
        await publish(nats, *(trade(symbol, number) for number in range(5)))
        await until_rows(stack, 5, "trades", symbol)
        await nats.jetstream().delete_consumer(names.WORD["trades"].stream, TRADES)
        await publish(nats, *(trade(symbol, number) for number in range(5, 10)))
        await until_rows(stack, 10, "trades", symbol)


async def test_messages_retention_removed_unread_are_reported_as_a_hole(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades"):
        await publish(nats, trade(symbol, 0))
        await until_rows(stack, 1, "trades", symbol)
    await publish(nats, *(trade(symbol, number) for number in range(1, 20)))
    await nats.jetstream().purge_stream(names.WORD["trades"].stream, keep=5)
    async with consuming(stack, nats, "trades") as health:
        await until_rows(stack, 6, "trades", symbol)
        await until_health(health, "trades", holes=1, rows=5, regressed=0)


async def test_a_stream_that_ends_before_the_watermark_is_read_again_instead_of_waited_for(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades"):
        await publish(nats, *(trade(symbol, number) for number in range(10)))
        await until_rows(stack, 10, "trades", symbol)
    path = stack.data_dir / "watermarks" / f"{TRADES}.json"
    text = path.read_text()
    at = (await nats.jetstream().stream_info(names.WORD["trades"].stream)).state.last_seq
    path.write_text(text.replace(f'"sequence":{at}', f'"sequence":{at + 10_000}'))
    assert path.read_text() != text, "not run: the watermark was not where it was expected"
    async with consuming(stack, nats, "trades") as health:
        await until_health(health, "trades", regressed=1)
        await publish(nats, *(trade(symbol, number) for number in range(10, 20)))
        await until_rows(stack, 20, "trades", symbol)
    assert await _ids(stack, symbol) == [(20, 20, 10.0)]


async def test_messages_delivered_but_never_acked_are_stored_by_the_next_run(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades"):
        await publish(nats, trade(symbol, 0))
        await until_rows(stack, 1, "trades", symbol)
    await publish(nats, *(trade(symbol, number) for number in range(1, 10)))
    stream = names.WORD["trades"].stream
    subscription = await nats.jetstream().pull_subscribe_bind(TRADES, stream)
    assert len(await subscription.fetch(9)) == 9  # someone takes them and dies
    async with consuming(stack, nats, "trades"):
        await until_rows(stack, 10, "trades", symbol)
    assert await rows(stack, "SELECT count() FROM trades WHERE symbol = $1", symbol) == [(10,)]
