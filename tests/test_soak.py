"""A steady run: memory stays flat, nothing lags, and all ends agree when it stops."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from flowtape.migrate import provision
from tests.conftest import free_port, started
from tests.harness import Command, commands
from tests.test_whole_path import settled

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.15"))
GROWTH_BYTES_MAX = 60_000_000


@pytest.mark.soak
async def test_a_steady_run_keeps_its_memory_and_its_counts(tmp_path: Path) -> None:
    port = free_port()
    variables = {
        "FLOWTAPE_EXCHANGES_SIM_BINANCE_WS_URL": f"ws://127.0.0.1:{port}/binance",
        "FLOWTAPE_EXCHANGES_SIM_BINANCE_REST_URL": f"http://127.0.0.1:{port}/binance",
        "FLOWTAPE_EXCHANGES_SIM_BINANCE_SYMBOLS": '["*"]',
    }
    with started(tmp_path / "data") as stack:
        await provision(stack.settings, lambda _line: None)
        simulate = ("simulate", "--port", str(port), "--symbols", "5", "--rate", "100")
        each = simulate, ("consume",), ("signal",), ("produce", "sim_binance"), ("klines", "sim_binance")
        with commands(stack, *each, **variables) as running:
            await asyncio.sleep(max(10.0, MINUTES * 30))
            before = [_resident(command) for command in running]
            await asyncio.sleep(MINUTES * 60)
            grown = [_resident(command) - old for command, old in zip(running, before, strict=True)]
            assert max(grown) < GROWTH_BYTES_MAX, grown
            assert running[3].stop() == 0
            kept = await settled(stack)
            assert len(kept) == 5, "not run: not every symbol traded"


def _resident(command: Command) -> int:
    assert command.process.poll() is None, command.output()[-2000:]
    return int(psutil.Process(command.process.pid).memory_info().rss)
