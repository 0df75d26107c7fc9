"""Computing a replay: a view of its streams, a folder and a clock of its own, and the end."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis.asyncio import Redis

from schemas.names import WORD, end_subject, replay_stream
from schemas.settings import ConfigError, Settings
from signals import _alert_run, _run
from signals._jetstream import StreamAnswer, request
from signals._partition import WHOLE, Part
from signals._prefixed import Prefixed, PrefixedRedis

_log = structlog.get_logger()
CHECK_EVERY_S, QUIET_CHECKS = 0.5, 6
"""What is made of other keys looks at them once a second: three seconds without news are the end."""
FOLDER = "replays"


class _End(msgspec.Struct):
    sequences: dict[str, int]


class View(NamedTuple):
    """What computing a replay is handed in place of the live ones."""

    settings: Settings
    nats: Client
    redis: Redis
    ended: asyncio.Event
    clock: Callable[[], int]


@asynccontextmanager
async def replayed(
    prefix: str, settings: Settings, nats: Client, redis: Redis, stop: asyncio.Event, health: dict[str, Any],
    wall: Callable[[], int],
) -> AsyncIterator[View]:  # fmt: skip
    """The replay under ``prefix`` from its beginning; ``ended`` is set once its end is in, or with ``stop``.

    State lies in a folder that is emptied first; the clock is the receipt of what was replayed last.
    """
    folder = Path(settings.data_dir) / FOLDER / prefix
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    connection, ended = Prefixed(nats, prefix), asyncio.Event()
    its = msgspec.structs.replace(settings, data_dir=str(folder))
    health.update(prefix=prefix)
    watch = asyncio.create_task(_watch(nats, prefix, health, stop, ended))
    try:
        cache = cast(Redis, PrefixedRedis(redis, prefix))
        yield View(its, cast(Client, connection), cache, ended, lambda: connection.received or wall())
    finally:
        watch.cancel()


async def _watch(nats: Client, prefix: str, health: dict[str, Any], stop: asyncio.Event, ended: asyncio.Event) -> None:
    """Set ``ended`` when all of the replay was read, or with ``stop``."""
    quiet = 0
    while not stop.is_set() and quiet < QUIET_CHECKS:
        try:
            await asyncio.wait_for(stop.wait(), CHECK_EVERY_S)
        except TimeoutError:
            end = await _end(nats, prefix)
            quiet = quiet + 1 if end is not None and _read(health, end) else 0
    _log.info("replay_read" if quiet else "replay_left", prefix=prefix)
    ended.set()


async def _end(nats: Client, prefix: str) -> _End | None:
    """What the end marker says, once there is one."""
    wanted = {"last_by_subj": end_subject(prefix)}
    try:
        answer = await request(nats, f"STREAM.MSG.GET.{replay_stream(prefix)}", wanted)
        return msgspec.json.decode(base64.b64decode(answer["message"]["data"]), type=_End)
    except (StreamAnswer, NatsError, OSError, TimeoutError, msgspec.DecodeError):
        return None


def _read(health: dict[str, Any], end: _End) -> bool:
    """Whether no part has anything left to read."""
    lags = [health.get("lag", 0), max(health.get("gaps_lag", 0), 0)]
    lags += [part["lag"] for part in health.values() if isinstance(part, dict) and "lag" in part]
    trades = end.sequences.get(WORD["trade"].stream, 0)
    engine = health.get("sequence")
    return health.get("state") == "running" and not any(lags) and (engine is None or engine >= trades)


async def compute(
    prefix: str, names: list[str], settings: Settings, nats: Client, redis: Redis, stop: asyncio.Event,
    health: dict[str, Any], *, part: Part = WHOLE, wall: Callable[[], int] = _run._wall,
) -> None:  # fmt: skip
    """``_run.signal`` of the replay under ``prefix``, until its end is in or ``stop``. Raises ConfigError."""
    if _alert_run.NAME in names:
        raise ConfigError("command line", "signal", "alerts are told of live data only: no --prefix")
    view = replayed(prefix, settings, nats, redis, stop, health, wall)
    async with view as (its, connection, cache, ended, clock):
        await _run.signal(names, its, connection, cache, ended, health, part=part, wall=clock)
