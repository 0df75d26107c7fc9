"""Ten minutes away from fifty symbols: how long until nothing is missing. The exchange's clock does the waiting."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from nats.js.errors import KeyNotFoundError, NoKeysError

from consumers._questdb import query
from flowtape import bus
from flowtape.migrate import provision
from schemas.time import MINUTE
from simulator._candles import id_at
from simulator._market import Market
from simulator._run import serve
from tests.conftest import Stack, started
from tests.harness import commands, eventually
from tests.stored import stored_account

SYMBOLS = int(os.environ.get("OUTAGE_SYMBOLS", "50"))
RATE = float(os.environ.get("OUTAGE_RATE", "300"))
"""Trades a second of all symbols: what the exchange's own limit on REST lets through bounds it."""
MINUTES = int(os.environ.get("OUTAGE_MINUTES", "10"))
PATIENCE_S = 900.0
_OPEN = "SELECT count() FROM gaps WHERE status = 'open'"


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
            prefix, at = "FLOWTAPE_EXCHANGES_BINANCE_", f"127.0.0.1:{port}/binance"
            variables = {
                f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}CHANNELS": "trades",
                f"{prefix}SYMBOLS": '["*"]',
            }  # fmt: skip
            with commands(stack, ("consume",), ("produce", "binance"), **variables) as running:
                producer = running[1]
                await eventually(lambda: _marked(stack), "every symbol has a mark", 120)
                assert producer.stop() == 0
                first = {tape.listing.canonical: id_at(tape, desk.now_ms()) for tape in desk.tapes.values()}
                behind_us = 0
                last = {tape.listing.canonical: id_at(tape, desk.now_ms()) for tape in desk.tapes.values()}
                began = time.monotonic()
                producer.start()

                async def whole() -> bool:
                    for symbol, wanted in last.items():
                        its = await stored_account(stack, symbol)
                        if its is None or its.last <= wanted or not its.complete:
                            return False
                    return True

                async def closed() -> bool:
                    gaps = await query(stack.questdb_pg, "SELECT count() FROM gaps")
                    return gaps[0][0] >= SYMBOLS and (await query(stack.questdb_pg, _OPEN))[0][0] == 0

                await eventually(closed, "no gap is open", PATIENCE_S)
                seconds = time.monotonic() - began
                await eventually(whole, "every id is stored once", PATIENCE_S)
                missed = sum(last[symbol] - first[symbol] for symbol in last)
                assert missed > 0, "not run: nothing was traded meanwhile"
                print(f"{missed} trades of {len(last)} symbols in {MINUTES} minutes away: closed after {seconds:.0f} s")


async def _marked(stack: Stack) -> bool:
    nats = await bus.connect(stack.settings, "admin", reconnect=False)
    try:
        bucket = await nats.jetstream().key_value("cursors")
        keys = [key for key in await bucket.keys() if key.startswith("binance.")]
        return len(keys) == SYMBOLS and all([json.loads((await bucket.get(k)).value or b"{}")["id"] > 0 for k in keys])
    except (KeyNotFoundError, NoKeysError):
        return False
    finally:
        await nats.close()
        await asyncio.sleep(0.5)
