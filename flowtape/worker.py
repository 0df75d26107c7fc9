"""One worker process: its connections, its clean stop, its heartbeat. The work itself is passed in."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
import redis.asyncio as aioredis
import structlog
from nats.aio.client import Client
from redis.exceptions import RedisError

from flowtape import bus, log, servers
from schemas.names import KEY_HEALTH
from schemas.settings import Settings

HEARTBEAT_S = 1.0
STOP_S_MAX = 15.0
_log = structlog.get_logger()

Work = Callable[[Client, aioredis.Redis, asyncio.Event, dict[str, Any]], Awaitable[None]]


def run(settings: Settings, role: str, name: str, work: Work) -> int:
    """Run ``work`` until it ends or a signal comes; the exit code (0, or 130 after Ctrl-C)."""
    log.configure(name, settings.log.format)
    if absent := servers.missing(settings):
        raise servers.ServerError(absent[0], "not started here; run `flowtape servers start` or `flowtape up`")
    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(servers.resolve(settings), role, name, work))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def stop_signals() -> tuple[asyncio.Event, list[int]]:
    """An event that SIGINT and SIGTERM set, and which of them have come."""
    stop, seen = asyncio.Event(), list[int]()

    def on_signal(number: int) -> None:
        seen.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop, seen


async def _run(settings: Settings, role: str, name: str, work: Work) -> int:
    stop, seen = stop_signals()
    health: dict[str, Any] = {}
    cache = aioredis.Redis.from_url(settings.redis.url, socket_timeout=5, socket_connect_timeout=2)
    connecting = asyncio.ensure_future(bus.connect(settings, role))
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({connecting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():  # told to stop before NATS was there
        connecting.cancel()
        await cache.aclose()
        return _code(seen)
    nats = await connecting
    heart = asyncio.create_task(_heartbeat(cache, name, health))
    _log.info("worker_started", pid=os.getpid())
    try:
        await work(nats, cache, stop, health)
    finally:
        heart.cancel()
        waiting.cancel()
        try:
            await asyncio.wait_for(nats.close(), STOP_S_MAX)
            await cache.hdel(KEY_HEALTH, name)
        except (TimeoutError, RedisError, OSError):
            pass
        await cache.aclose()
    code = _code(seen)
    _log.info("worker_stopped", code=code)
    return code


def _code(seen: Sequence[int]) -> int:
    return 130 if seen and seen[-1] == signal.SIGINT else 0


async def _heartbeat(cache: aioredis.Redis, name: str, health: dict[str, Any]) -> None:
    started, process = time.time_ns() // 1000, psutil.Process()
    while True:
        cost = {"cpu_s": round(time.process_time(), 3), "memory_bytes": process.memory_info().rss}
        beat = {"pid": process.pid, "started": started, "as_of": time.time_ns() // 1000, **cost, **health}
        try:
            await cache.hset(KEY_HEALTH, name, msgspec.json.encode(beat).decode())
        except (RedisError, OSError) as error:
            _log.warning("heartbeat_failed", reason=type(error).__name__)
        await asyncio.sleep(HEARTBEAT_S)
