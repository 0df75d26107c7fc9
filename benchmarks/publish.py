"""The outbox against a real stream: events a second, one a message and coalesced, beside bare publishing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import uvloop
from nats.aio.client import Client

from flowtape import bus
from flowtape.migrate import provision
from producers._outbox import Outbox
from producers._spool import Spool
from schemas.events import Trade, encode
from schemas.names import event_message_id
from schemas.settings import Settings

SYMBOLS = 100
WAITING_MAX = 4_000


def trades(count: int, first: int) -> list[Trade]:
    """``count`` trades over SYMBOLS symbols, ids from ``first`` on."""
    now = time.time_ns() // 1000
    return [
        Trade(
            "binance", f"S{i % SYMBOLS:03}-USDT", now + i, now + i, str(first + i), 61_837.63, 0.02, 1236.75, i % 2 == 0
        )
        for i in range(count)
    ]


async def _bare(nats: Client, count: int) -> float:
    """Messages a second with ids and headers, no stream behind, nothing waited for: what the client alone can do."""
    made = [(event_message_id(event), encode(event)) for event in trades(count, 0)]
    began = time.perf_counter()
    for name, body in made:
        await nats.publish("bare.subject", body, headers={"Nats-Msg-Id": name})
    await nats.flush()
    return count / (time.perf_counter() - began)


async def fill(nats: Client, count: int, first: int, *, together: bool, window: int = 4096) -> float:
    """Events a second through the outbox into the log, until all are acknowledged."""
    with tempfile.TemporaryDirectory(prefix="flowtape-bench-") as folder:
        outbox = Outbox(
            nats, Spool(Path(folder), "bench", 1 << 30), memory=1 << 30, clock=lambda: time.time_ns() // 1000,
            monotonic=time.monotonic, sleep=asyncio.sleep, window=window,
            together_above=64 if together else 10**9,
        )  # fmt: skip
        running = asyncio.create_task(outbox.run())
        await asyncio.sleep(0.1)
        made = trades(count, first)
        began = time.perf_counter()
        for i, event in enumerate(made):
            outbox.add(event)
            if i % 200 == 0:
                await asyncio.sleep(0)
                while not together and outbox.health()["waiting"] > WAITING_MAX:
                    await asyncio.sleep(0.001)
        while not outbox.idle:
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - began
        running.cancel()
        await outbox.close(5)
        assert outbox.counts["events"] == count, f"{outbox.counts} of {count}"
        return count / seconds


def measure(settings: Settings, count: int) -> tuple[float, float, float]:
    """Bare messages, outbox one a message, outbox coalesced: each a second."""

    async def run() -> tuple[float, float, float]:
        await provision(settings, lambda _line: None)
        nats = await bus.connect(settings, "admin")
        try:
            bare = await _bare(nats, count)
            single = await fill(nats, count, 0, together=False)
            return bare, single, await fill(nats, 4 * count, 10**9, together=True)
        finally:
            await nats.close()

    return uvloop.run(run())
