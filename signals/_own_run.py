"""A user's signal at work, in a process of its own: what it raises stops it alone, and it starts again by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client
from redis.asyncio import Redis

from schemas.settings import Settings
from signals import own
from signals._feed import Feed

_log = structlog.get_logger()
BACKOFF_S_MIN, BACKOFF_S_MAX, HEALTHY_S = 1.0, 60.0, 60.0


async def run(
    name: str, where: Path | str, stop: asyncio.Event, settings: Settings, nats: Client, redis: Redis,
    health: dict[str, Any], wall: Callable[[], int], monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:  # fmt: skip
    """Until ``stop``. The file is read again at each start, so a corrected one takes effect by itself."""
    wait_s = BACKOFF_S_MIN
    while not stop.is_set():
        began = monotonic()
        feed: Feed | None = None
        try:
            declared = own.load(name, where)
            make = partial(own.Own, declared, settings, watched=True)
            feed = Feed(make, settings, nats, redis, health, wall, monotonic, sleep)
            health.update(state="running", error="")
            await feed.run(stop)
        except own.OwnSignalFailed as error:
            wait_s = BACKOFF_S_MIN if monotonic() - began > HEALTHY_S else min(wait_s * 2, BACKOFF_S_MAX)
            health.update(state="stopped", error=str(error)[:300], failures=health.get("failures", 0) + 1)
            _log.exception("own_signal_failed", name=name, where=error.where, again_in_s=wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)
        finally:
            if feed is not None:
                await feed.close()
