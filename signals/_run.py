"""The signal worker: one engine over trades, one feed for each signal over the slower streams."""

from __future__ import annotations

import asyncio
import time as clocks
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis.asyncio import Redis

from schemas.names import WORD, signal_durable, watermark_key
from schemas.settings import ConfigError, Settings
from signals import _alert_run, _own_names, _own_run
from signals._board import SIGNALS
from signals._feed import Feed
from signals._jetstream import StreamAnswer, StreamFacts, facts
from signals._memory import return_large_blocks
from signals._once import RedisAway, compute_once
from signals._partition import WHOLE, Part
from signals._series import plug_ins
from signals._state import IntervalUnusable, Spans
from signals._stream import StreamReplaced
from signals._tables import TablesAway
from signals._warm import warm_up
from signals._worker import Worker

_log = structlog.get_logger()
Unreachable = (TablesAway, RedisAway)
"""What ``once`` raises when a server is away."""
STREAM = WORD["trade"].stream


def _wall() -> int:
    return clocks.time_ns() // 1_000


async def signal(
    names: list[str], settings: Settings, nats: Client, redis: Redis, stop: asyncio.Event, health: dict[str, Any],
    *, part: Part = WHOLE, once: bool = False,
    wall: Callable[[], int] = _wall, monotonic: Callable[[], float] = clocks.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:  # fmt: skip
    """Compute the named signals (none named: all built-in ones) until ``stop``, or from the tables ``once``.

    What is made of the slower streams is computed by the first part.
    Raises ConfigError for what cannot be computed, TablesAway and RedisAway when ``once`` finds a server away.
    """
    if names == [_alert_run.NAME]:
        watch = _alert_run.AlertWorker(settings, nats, redis, health, wall, monotonic, sleep)
        await watch.run(stop)
        return
    series, owned = plug_ins(), {} if once else _own_names.names(settings)
    known = (*SIGNALS, *series)
    unknown = [name for name in names if name not in (*known, *owned)]
    if unknown:
        told = ", ".join((*known, *owned, _alert_run.NAME))
        raise ConfigError("command line", "signal", f"unknown {unknown[0]!r}; known are {told}")
    folded = tuple(name for name in SIGNALS if name in (names or SIGNALS))
    around = (settings, nats, redis, health, wall, monotonic, sleep)
    if once and folded:
        await compute_once(settings, spans(settings), folded, part, nats, redis, wall, monotonic)
    if part.number > 1:
        series = {}
    if mine := [name for name in names if name not in known]:
        if len(names) > 1:
            raise ConfigError("command line", "signal", f"{mine[0]!r} is your own: it runs in a process of its own")
        await _own_run.run(mine[0], owned[mine[0]], stop, *around)
        return
    feeds = [Feed(partial(series[name], settings), *around) for name in series if name in (names or series)]
    idle = [feed.signal.name for feed in feeds if not feed.signal.sources()]
    if idle and names:
        raise ConfigError("settings", f"signals.{idle[0]}", "empty or off: there is nothing to compute")
    feeds = [feed for feed in feeds if feed.signal.sources()]
    if once:
        await _once(feeds)
        return
    work = [asyncio.ensure_future(feed.run(stop)) for feed in feeds]
    if folded:
        work.append(asyncio.ensure_future(_engine(folded, part, stop, *around)))
    else:
        health.update(state="running")
    try:
        await asyncio.gather(*work)
    finally:
        # One that failed takes the process down, to be started again whole; the others may not outlive it.
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for feed in feeds:
            await feed.close()


async def _once(feeds: list[Feed]) -> None:
    """Raises TablesAway, RedisAway."""
    try:
        for feed in feeds:
            _log.info("computed_once", signal=feed.signal.name, keys=await feed.once())
    finally:
        for feed in feeds:
            await feed.close()


async def _engine(
    chosen: tuple[str, ...], part: Part, stop: asyncio.Event, settings: Settings, nats: Client, redis: Redis,
    health: dict[str, Any], wall: Callable[[], int], monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:  # fmt: skip
    """The signals made of trades, until ``stop``. Raises ConfigError."""
    measured = spans(settings)
    consumer = signal_durable(("-".join(chosen) if chosen != SIGNALS else "footprint") + part.suffix)
    return_large_blocks()
    health.update(state="compiling")
    await asyncio.to_thread(warm_up)
    path = Path(settings.data_dir) / "signals" / f"{consumer}.sqlite"
    worker = Worker(
        settings, measured, chosen, part, path, watermark_key(consumer), nats, redis, health, wall, monotonic, sleep
    )
    try:
        found = await _stream_facts(nats, stop)
        while found is not None:
            try:
                await worker.run(found, stop)
                return
            except StreamReplaced as replaced:
                _log.error("stream_replaced", stream=STREAM, created=replaced.created)
                health["holes"] = health.get("holes", 0) + 1
                found = await _stream_facts(nats, stop)
    finally:
        await worker.close()


def spans(settings: Settings) -> Spans:
    """The intervals that are configured. Raises ConfigError."""
    try:
        return Spans(settings.signals.intervals)
    except IntervalUnusable as error:
        raise ConfigError("settings", "signals.intervals", str(error)) from error


async def _stream_facts(nats: Client, stop: asyncio.Event) -> StreamFacts | None:
    """What the trade stream is; waits for it. None when told to stop first."""
    delay = 0.2
    while not stop.is_set():
        try:
            return await facts(nats, STREAM)
        except (NatsError, StreamAnswer, OSError, TimeoutError) as error:
            _log.warning("stream_away", stream=STREAM, reason=str(error) or type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), delay)
        except TimeoutError:
            delay = min(delay * 2, 5.0)
    return None
