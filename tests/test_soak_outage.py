"""How soon holes are found and filled: many small ones, and ten minutes away from fifty symbols at once."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from pathlib import Path

import pytest

from consumers._questdb import query
from flowtape.migrate import provision
from schemas.time import MINUTE
from simulator._candles import id_at
from simulator._faults import Fault
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from tests.conftest import Stack, started
from tests.harness import commands, eventually
from tests.stored import marks, whole

LONG = float(os.environ.get("SOAK_MINUTES", "0.3")) > 2
SYMBOLS, RATE, MINUTES, HOLES = (50, 300.0, 10, 100) if LONG else (3, 60.0, 2, 6)
"""Trades a second are those of all symbols: what the exchange's own limit on REST lets through bounds them."""
PATIENCE_S = 900.0
_NOTICED = (
    "SELECT gaps.received::long - trades.received::long FROM gaps JOIN trades"
    " ON gaps.symbol = trades.symbol AND trades.trade_id = cast(cast(gaps.to_id AS long) + 1 AS varchar)"
    " WHERE gaps.cause = 'skipped'"
)
"""From the receipt of the id behind the hole, µs."""
_FILLED = "SELECT updated::long - received::long FROM gaps WHERE status = 'filled' AND cause = 'skipped'"
_OPEN = "SELECT count() FROM gaps WHERE status = 'open'"


def _variables(port: int) -> dict[str, str]:
    prefix, at = "FLOWTAPE_EXCHANGES_BINANCE_", f"127.0.0.1:{port}/binance"
    return {
        f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}CHANNELS": "trades",
        f"{prefix}SYMBOLS": '["*"]',
    }  # fmt: skip


async def _marked(stack: Stack, simulator: Simulator) -> bool:
    tapes = simulator.hubs["binance"].desk.tapes.values()
    found = await marks(stack, "binance", [tape.listing.canonical for tape in tapes])
    return found is not None and all(mark["id"] > 0 for mark in found)


@pytest.mark.soak
async def test_ids_left_out_one_run_after_another_are_found_and_filled(tmp_path: Path) -> None:
    with started(tmp_path / "data") as stack:
        await provision(stack.settings, lambda _line: None)
        async with serve(Market(11, SYMBOLS, RATE)) as (simulator, port):
            with commands(stack, ("consume",), ("produce", "binance"), **_variables(port)):
                await eventually(lambda: _marked(stack, simulator), "every symbol has a mark", 120)
                listings = [tape.listing.symbol for tape in simulator.hubs["binance"].desk.tapes.values()]
                rng = random.Random(1)
                asked = []
                for _ in range(HOLES):
                    fault = Fault(
                        kind="skip", exchange="binance", symbol=rng.choice(listings), count=rng.randint(1, 20)
                    )
                    asked.append(simulator.fault(fault))
                    await asyncio.sleep(rng.uniform(0.2, 0.8))

                async def found() -> bool:
                    fired = sum(active.fired for active in asked)
                    [(expected, got)] = await query(stack.questdb_pg, "SELECT sum(expected), sum(filled) FROM gaps")
                    return all(active.over(0) for active in asked) and expected == got and (expected or 0) >= fired

                await eventually(found, "every id left out is filled", PATIENCE_S)
                for what, statement in (("found after the next id", _NOTICED), ("filled after it was found", _FILLED)):
                    waits = [row[0] / 1e6 for row in await query(stack.questdb_pg, statement)]
                    assert len(waits) >= HOLES // 3, "not run: too few holes"
                    p50, p95 = statistics.median(waits), statistics.quantiles(waits, n=20)[-1]
                    print(f"{len(waits)} holes: {what} p50 {p50:.2f} s, p95 {p95:.2f} s, max {max(waits):.2f} s")


@pytest.mark.soak
async def test_after_ten_minutes_away_every_trade_of_fifty_symbols_is_brought_again(tmp_path: Path) -> None:
    behind_us = MINUTES * MINUTE
    with started(tmp_path / "data") as stack:
        await provision(stack.settings, lambda _line: None)
        async with serve(Market(11, SYMBOLS, RATE), clock=lambda: time.time_ns() // 1_000 - behind_us) as (
            simulator,
            port,
        ):
            desk = simulator.hubs["binance"].desk
            with commands(stack, ("consume",), ("produce", "binance"), **_variables(port)) as running:
                producer = running[1]
                await eventually(lambda: _marked(stack, simulator), "every symbol has a mark", 120)
                assert producer.stop() == 0
                first = {tape.listing.canonical: id_at(tape, desk.now_ms()) for tape in desk.tapes.values()}
                behind_us = 0
                last = {tape.listing.canonical: id_at(tape, desk.now_ms()) + 1 for tape in desk.tapes.values()}
                began = time.monotonic()
                producer.start()

                async def closed() -> bool:
                    gaps = await query(stack.questdb_pg, "SELECT count() FROM gaps")
                    return gaps[0][0] >= SYMBOLS and (await query(stack.questdb_pg, _OPEN))[0][0] == 0

                await eventually(closed, "no gap is open", PATIENCE_S)
                seconds = time.monotonic() - began
                await eventually(lambda: whole(stack, last), "every id is stored once", PATIENCE_S)
                missed = sum(last[symbol] - 1 - first[symbol] for symbol in last)
                assert missed > 0, "not run: nothing was traded meanwhile"
                print(f"{missed} trades of {len(last)} symbols in {MINUTES} minutes away: closed after {seconds:.0f} s")
