"""A producer that is killed leaves nothing unaccounted: real processes, the tables, and what ``flowtape gaps`` says."""

from __future__ import annotations

import asyncio
import json
import time

from flowtape.migrate import provision
from simulator._candles import id_at
from simulator._faults import Fault
from simulator._market import Market
from simulator._run import serve
from tests.accounting import Account
from tests.conftest import Stack
from tests.harness import Command, commands, eventually
from tests.stored import marks, stored_account, whole


async def test_producers_killed_and_started_again_leave_every_id_stored_once(own_stack: Stack) -> None:
    await provision(own_stack.settings, lambda _line: None)
    async with serve(Market(11, 2, 200.0)) as (simulator, port):
        symbols = [tape.listing.canonical for tape in simulator.hubs["binance"].desk.tapes.values()]
        prefix, at = "FLOWTAPE_EXCHANGES_BINANCE_", f"127.0.0.1:{port}/binance"
        variables = {
            f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}CHANNELS": "trades",
            f"{prefix}SYMBOLS": ",".join(symbols),
        }  # fmt: skip

        killed_us = 0

        async def marked() -> bool:
            found = await marks(own_stack, "binance", symbols)
            return found is not None and all(mark["updated"] > killed_us for mark in found)

        with commands(own_stack, ("consume",), ("produce", "binance"), **variables) as running:
            producer = running[1]
            for _ in range(3):
                await eventually(marked, "this life's first marks are stored")
                producer.kill()
                killed_us = time.time_ns() // 1_000
                await asyncio.sleep(1)
                producer.start()
            await eventually(marked, "this life's first marks are stored")
            skipped = simulator.fault(Fault(kind="skip", exchange="binance", count=25))

            async def fired() -> bool:
                return skipped.fired == 25

            await eventually(fired, "not run: messages were left out")
            desk = simulator.hubs["binance"].desk
            left_out = {tape.listing.canonical: id_at(tape, desk.now_ms()) + 1 for tape in desk.tapes.values()}

            async def accounted() -> list[Account] | None:
                found = await whole(own_stack, left_out)
                restarts = sum(gap.cause == "restart" for its in found or () for gap in its.gaps)
                return found if restarts >= 3 else None

            try:
                accounts = await eventually(accounted, "every id is stored once and no gap is open", 90)
            except AssertionError as error:
                last = [await stored_account(own_stack, symbol) for symbol in symbols]
                found = [its and (its.unaccounted, its.named, its.gaps) for its in last]
                raise AssertionError(f"skipped {skipped.fired}: {found}") from error
            assert all(not its.unaccounted and not its.nonexistent for its in accounts)
            listed = Command(own_stack, "gaps", "--json", **variables)
            assert await asyncio.to_thread(listed.process.wait, 30) == 0
            text = listed.output()
            told = json.loads(text[text.index("{") :])
            assert {gap["status"] for gap in told["gaps"]} == {"filled"}
            assert {"restart", "skipped"} <= {gap["cause"] for gap in told["gaps"]}
            assert sum(count["missing"] for count in told["counts"]) == 0
            shown = Command(own_stack, "gaps", **variables)
            assert await asyncio.to_thread(shown.process.wait, 30) == 0
            assert "filled" in shown.output()
            assert producer.stop() == 0
