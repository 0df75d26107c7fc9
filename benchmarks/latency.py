"""From a trade sent to the log to the key of Redis that holds it, at a steady rate, through the real engine."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import NamedTuple

import numpy as np
import psutil
from nats.aio.client import Client
from redis.asyncio import Redis

from benchmarks._stack import cpu_s, process
from flowtape import bus
from flowtape.migrate import provision
from schemas.events import Trade, encode
from schemas.names import WORD, event_message_id, event_subject, signal_durable, watermark_key
from schemas.settings import Settings

RATE, SYMBOLS, TICK_S, WARM_UP_S = 5_000, 100, 0.01, 10.0
START_S_MAX, REST_S_MAX = 60.0, 10.0


class Latency(NamedTuple):
    """Milliseconds of all trades but those of the warm-up."""

    p50: float
    p99: float
    trades: int
    flush: float
    """The flush interval."""
    cores: float
    """Processor share of the engine meanwhile; 1 is one core."""


class _Watch:
    """Trades on their way, by symbol: sequence and when they were sent; and how long those took that arrived."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[tuple[int, float]]] = {}
        self.spent: list[tuple[float, float]] = []

    def sent(self, symbol: str, sequence: int) -> None:
        self.waiting.setdefault(symbol, deque()).append((sequence, time.perf_counter()))

    async def listen(self, redis: Redis) -> None:
        notices = redis.pubsub()
        await notices.psubscribe("footprint:binance:*:1m")
        async for notice in notices.listen():
            if notice["type"] != "pmessage":
                continue
            now, waiting = time.perf_counter(), self.waiting.get(notice["channel"].decode().split(":")[2], deque())
            while waiting and waiting[0][0] <= int(notice["data"]):
                sent = waiting.popleft()[1]
                self.spent.append((sent, now - sent))


async def _send(nats: Client, watch: _Watch, first: int, seconds: float) -> int:
    """One event a message, ``RATE`` a second; returns how many."""
    rng = np.random.default_rng(5)
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        while n < RATE * (time.perf_counter() - began):
            symbol, now = f"S{int(rng.random() ** 2 * SYMBOLS):03}-USDT", time.time_ns() // 1000
            price = 60_000.0 + int(rng.integers(-50, 50))
            trade = Trade("binance", symbol, now, now, str(first + n), price, 0.02, price * 0.02, n % 2 == 0)
            n += 1
            watch.sent(symbol, first + n)
            await nats.publish(event_subject(trade), encode(trade), headers={"Nats-Msg-Id": event_message_id(trade)})
        await asyncio.sleep(TICK_S)
    return n


async def reached(redis: Redis, sequence: int, seconds: float) -> None:
    """Until the engine's keys hold ``sequence``. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while int(await redis.hget(watermark_key(signal_durable("footprint")), "sequence") or 0) < sequence:
            await asyncio.sleep(0.05)


async def _run(settings: Settings, engine: psutil.Process, seconds: float) -> Latency:
    nats, redis = await bus.connect(settings, "admin"), Redis.from_url(settings.redis.url)
    watch = _Watch()
    listening = asyncio.create_task(watch.listen(redis))
    try:
        first = await _send(nats, watch, 0, 1.0)
        await reached(redis, first, START_S_MAX)  # compiled, and reading
        watch.spent.clear()
        began, used = time.perf_counter(), cpu_s(engine)
        count = await _send(nats, watch, first, WARM_UP_S + seconds)
        cores = (cpu_s(engine) - used) / (WARM_UP_S + seconds)
        await reached(redis, first + count, REST_S_MAX)
        held = (await nats.jetstream().stream_info(WORD["trade"].stream)).state.messages
        assert held == first + count, f"{held} of {first + count} in the log"
        await asyncio.sleep(0.5)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await redis.aclose()
        await nats.close()
    spent = np.array([took for sent, took in watch.spent if sent >= began + WARM_UP_S]) * 1e3
    middle, high = np.quantile(spent, [0.5, 0.99]).tolist()
    return Latency(middle, high, len(spent), settings.signals.flush / 1e3, cores)


def measure(settings: Settings, seconds: float) -> Latency:
    """After a warm-up of ten seconds, for ``seconds``. Raises TimeoutError where the engine does not keep up."""
    asyncio.run(provision(settings, lambda _line: None))
    with process(settings, "-m", "flowtape", "signal") as engine:
        return asyncio.run(_run(settings, engine, seconds))
