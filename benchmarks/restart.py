"""How long an engine takes to be live again: its snapshot, then what the log holds beyond it."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from redis.asyncio import Redis

from benchmarks._stack import cpu_s, process
from benchmarks.engine import messages
from benchmarks.kernel import columns
from benchmarks.latency import reached
from flowtape import bus
from flowtape.migrate import provision
from flowtape.ordered import Letter, Ordered
from schemas.names import WORD
from schemas.settings import Settings

SYMBOLS, REST_RATE, REST_S = 100, 2_000, 60
"""The rest of the log: a snapshot's interval of it, at the rate of a busy day."""
FIRST_S_MAX, AGAIN_S_MAX = 550.0, 60.0


class Restart(NamedTuple):
    """Seconds from starting the process until Redis holds the end of the log."""

    first: float
    """Everything from the log."""
    again: float
    """From a snapshot and a minute of log."""
    again_cpu: float
    """Processor seconds of it: what it takes on a machine with nothing else to do."""
    idle: float
    """From a snapshot with nothing behind it: interpreter, imports, kernels, snapshot, keys."""


async def _publish(settings: Settings, count: int, span: int, after: int, stored: int) -> int:
    """``count`` trades over ``span`` µs that begin ``after`` µs into the tape; returns the log's last sequence."""
    nats = await bus.connect(settings, "admin")
    tape = columns(count, SYMBOLS, span)
    tape = tape._replace(timestamp=tape.timestamp + after)
    log = Ordered(nats, WORD["trade"].stream, stored)
    await log.open()
    made = [Letter(one.subject, one.payload, {}) for one in messages(tape, stored * 1_000)]
    for at in range(0, len(made), 500):
        await log.send(made[at : at + 500])
    await log.settle()
    await nats.close()
    return log.stored


async def _until(settings: Settings, sequence: int, seconds: float) -> float:
    redis, began = Redis.from_url(settings.redis.url), time.monotonic()
    await reached(redis, sequence, seconds)
    await redis.aclose()
    return time.monotonic() - began


def _started(settings: Settings, sequence: int, seconds: float) -> tuple[float, float]:
    """Start an engine, wait until its keys hold ``sequence``, stop it cleanly; seconds from its start, and used."""
    asyncio.run(_forget(settings))
    began = time.monotonic()
    with process(settings, "-m", "flowtape", "signal") as engine:
        asyncio.run(_until(settings, sequence, seconds))
        return time.monotonic() - began, cpu_s(engine)


async def _forget(settings: Settings) -> None:
    """Empty Redis: only keys written anew count."""
    redis = Redis.from_url(settings.redis.url)
    await redis.flushdb()
    await redis.aclose()


def measure(settings: Settings, count: int, hours: int) -> Restart:
    """``count`` trades of 100 symbols over ``hours`` hours, then a minute more. Raises TimeoutError."""
    asyncio.run(provision(settings, lambda _line: None))
    span = hours * 3_600_000_000
    last = asyncio.run(_publish(settings, count, span, 0, 0))
    first, _ = _started(settings, last, FIRST_S_MAX)
    last = asyncio.run(_publish(settings, REST_RATE * REST_S, REST_S * 1_000_000, span, last))
    again, cpu = _started(settings, last, AGAIN_S_MAX)
    return Restart(first, again, cpu, _started(settings, last, AGAIN_S_MAX)[0])
