"""Whatever is killed in whatever order: every trade is stored once and counted once. A failing seed is in the name."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from flowtape.migrate import provision
from tests.conftest import started
from tests.exchange import exchange, tape
from tests.harness import commands
from tests.test_whole_path import expected, settled

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
KILLS, FRAMES, PER_S = 5, 9_000, 900
SERVERS = ("nats", "questdb", "redis")
WORKERS = {"consume": 0, "signal": 1, "one producer": 2, "the other producer": 3}


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_random_kills_lose_nothing_and_double_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    frames = tape(FRAMES)
    with started(tmp_path / "data") as stack:
        await provision(stack.settings, lambda _line: None)
        async with exchange() as scripted:
            prefix = "FLOWTAPE_EXCHANGES_BINANCE_"
            variables = {
                f"{prefix}WS_URL": f"ws://{scripted.url}", f"{prefix}REST_URL": f"http://{scripted.url}",
                f"{prefix}SYMBOLS": "BTC-USDT,ETH-USDT", f"{prefix}CHANNELS": "trades",
            }  # fmt: skip
            makers = [("produce", "binance")] * 2
            with commands(stack, ("consume",), ("signal",), *makers, **variables) as running:
                await scripted.subscribed(2)
                playing = asyncio.create_task(scripted.play(frames, per_s=PER_S))
                for _ in range(KILLS):
                    await asyncio.sleep(rng.uniform(0.2, 1.0))
                    victim = rng.choice([*SERVERS, *WORKERS])
                    if victim in SERVERS:
                        os.kill(stack.pid(victim), signal.SIGKILL)
                        await asyncio.sleep(rng.uniform(0.1, 1.0))
                        await asyncio.to_thread(stack.start)
                        continue
                    running[WORKERS[victim]].kill()
                    running[WORKERS[victim]].start()
                    if "producer" in victim:  # two are enough for one to die at any moment, not for both
                        await scripted.subscribed(2)
                        await asyncio.sleep(0.5)
                await playing
                await settled(stack, expected(frames), seconds=120)
