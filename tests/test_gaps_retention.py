"""An outage longer than the log reaches back: what a table never got becomes a gap, and is brought again over REST."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from consumers import _loop
from flowtape import bus
from flowtape.migrate import migrate
from producers import _ledger
from producers._run import produce
from schemas.names import CAUSE_RETENTION, WORD
from schemas.settings import ConsumerSettings, Duration, ExchangeSettings, TradesSettings
from simulator._candles import id_at
from simulator._market import Market
from simulator._run import serve
from tests.conftest import Stack
from tests.consuming import consuming, until
from tests.stored import stored_account, whole

STREAM = WORD["trades"].stream
HELD = 600
"""Messages the log holds: a few seconds' worth."""


async def test_what_the_log_lost_while_questdb_was_away_is_filled_again(
    own_stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_loop, "BEHIND_S", 0.5)
    monkeypatch.setattr(_ledger, "LOOK_EVERY_S", 0.5)
    nats = await bus.connect(own_stack.settings, "admin")
    await migrate(own_stack.settings, nats)
    jetstream = nats.jetstream()
    config = (await jetstream.stream_info(STREAM)).config.evolve(duplicate_window=1.0)
    await jetstream.update_stream(config.evolve(max_msgs=HELD))
    async with serve(Market(11, 2, 200.0)) as (simulator, port):
        desk = simulator.hubs["binance"].desk
        symbols = [tape.listing.canonical for tape in desk.tapes.values()]
        at = f"127.0.0.1:{port}/binance"
        its = ExchangeSettings(symbols=symbols, channels=["trades"], ws_url=f"ws://{at}", rest_url=f"http://{at}")
        settings = msgspec.structs.replace(
            own_stack.settings, exchanges={"binance": its}, consumer=ConsumerSettings(rows=50),
            trades=TradesSettings(backfill=Duration(0)),
        )  # fmt: skip
        stack = Stack(settings, own_stack.data_dir)
        stop = asyncio.Event()
        producer = await bus.connect(settings, "producer")
        consumer = await bus.connect(settings, "consumer")
        producing = asyncio.create_task(produce("binance", settings, producer, stop, {}))
        try:
            async with consuming(stack, consumer, "trades", "gaps") as health:
                await until(lambda: _all_stored(stack, symbols), "rows of every symbol")
                stack.kill("questdb")

                async def overrun() -> bool:
                    floor = (await jetstream.consumer_info(STREAM, "questdb-trades")).delivered.stream_seq
                    return (await jetstream.stream_info(STREAM)).state.first_seq > floor + 100

                await until(overrun, "not run: the log still holds what the table lacks")
                await jetstream.update_stream(config)  # what is brought again finds room
                await asyncio.to_thread(stack.start)
                lost_until = {tape.listing.canonical: id_at(tape, desk.now_ms()) for tape in desk.tapes.values()}

                async def refilled() -> bool:
                    found = await whole(stack, lost_until) or []
                    return bool(found) and all(any(gap.cause == CAUSE_RETENTION for gap in its.gaps) for its in found)

                try:
                    await until(refilled, "every id is in the table and the gaps are closed")
                except AssertionError as error:
                    found = [await stored_account(stack, symbol) for symbol in symbols]
                    told = [its and (its.last, len(its.unaccounted), its.gaps) for its in found]
                    raise AssertionError(f"{lost_until} {told} {health}") from error
                assert health["tables"]["trades"]["holes"] >= 1
        finally:
            stop.set()
            await producing
            for client in (producer, consumer, nats):
                await client.close()


async def _all_stored(stack: Stack, symbols: list[str]) -> bool:
    return all([await stored_account(stack, symbol) is not None for symbol in symbols])
