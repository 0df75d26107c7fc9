"""The web process: chooses its port, serves until told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from nats.aio.client import Client
from redis.asyncio import Redis

from schemas.settings import Settings
from signals._options import options
from web._app import application
from web._cache import Cache
from web._desk import Desk
from web._door import Door
from web._guard import Guard
from web._hub import Hub
from web._instruments import Instruments
from web._port import listening, record
from web._socket import Sockets
from web._stored import Renderer
from web._tables import Tables

STOP_S_MAX = 3.0
STATUS_AGE_S = 1.0
_log = structlog.get_logger()


def clock() -> int:
    """Now, in µs since the epoch."""
    return time.time_ns() // 1000


class Lately:
    """What ``collect`` gave at most STATUS_AGE_S ago: many may ask, one is asked."""

    def __init__(self, collect: Callable[[], Awaitable[dict[str, Any]]], monotonic: Callable[[], float]) -> None:
        self._collect, self._monotonic = collect, monotonic
        self._turn = asyncio.Lock()
        self._at, self._found = -STATUS_AGE_S, dict[str, Any]()

    async def get(self) -> dict[str, Any]:
        """It, collected again if it is older."""
        async with self._turn:
            if self._monotonic() - self._at >= STATUS_AGE_S:
                self._found = await self._collect()
                self._at = self._monotonic()
            return self._found


async def web_server(
    settings: Settings, nats: Client, cache: Redis, stop: asyncio.Event, health: dict[str, Any], *,
    status: Callable[[], Awaitable[dict[str, Any]]], connect: Callable[[str], Awaitable[Client]],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Serve until ``stop``. ``status`` gives what ``flowtape status`` shows, ``connect`` a login by role."""
    bound = listening(settings)
    tables = Tables(settings.questdb)
    desk = Desk(
        settings, tables, Cache(cache), Instruments(nats, monotonic), nats, clock, Lately(status, monotonic).get,
        connect, Renderer(options(settings.signals)),
    )  # fmt: skip
    hub = Hub(cache)
    sockets = Sockets(hub, nats, clock)
    runner = web.AppRunner(
        application(desk, Guard(settings.web, monotonic), sockets), access_log=None, shutdown_timeout=STOP_S_MAX
    )
    await runner.setup()
    assert runner.server is not None
    listener = await asyncio.get_running_loop().create_server(Door(runner.server), sock=bound)
    following = asyncio.create_task(hub.run())
    served = record(settings, bound.getsockname()[1])
    health.update(url=served.url, sockets=0)
    _log.info("serving", url=served.url)
    try:
        while not stop.is_set():
            health.update(sockets=sockets.count)
            try:
                await asyncio.wait_for(stop.wait(), 1)
            except TimeoutError:
                if following.done():
                    following.result()
    finally:
        listener.close()
        following.cancel()
        await sockets.close()
        await runner.cleanup()
        await tables.close()
