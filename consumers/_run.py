"""The consumer process: which tables it fills, and who watches QuestDB meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client

from consumers import _completeness, _views
from consumers._loop import Loop
from consumers._questdb import Questdb
from consumers._suspended import watch
from consumers._table import Table
from schemas.names import WORD
from schemas.settings import ConfigError, Settings

log = structlog.get_logger()


def clock() -> int:
    """Now, in µs since the epoch."""
    return time.time_ns() // 1000


def tables() -> dict[str, Table[Any]]:
    """Every table file of this folder, by its name."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return {name: import_module(f"consumers.{name}").TABLE for name in files}


def chosen(words: list[str]) -> list[Table[Any]]:
    """The tables that ``words`` (``trade``, ``trades``, ``candles``, …) name; all for none. Raises ConfigError."""
    known = tables()
    picked = {WORD[word].channel if word in WORD else word for word in words} or set(known)
    for word in sorted(picked - set(known)):
        raise ConfigError("command line", word, f"no such table; there are {', '.join(known)}")
    return [table for name, table in known.items() if name in picked]


async def consume(
    words: list[str],
    settings: Settings,
    nats: Client,
    stop: asyncio.Event,
    health: dict[str, Any],
    *,
    clock: Callable[[], int] = clock,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Fill the tables that ``words`` name until ``stop``; ``health["tables"]`` has the counters of each."""
    questdb, auditing = Questdb(settings.questdb.pg), Questdb(settings.questdb.pg)  # an audit may take seconds
    its: dict[str, dict[str, Any]] = {}
    health.update(tables=its, suspended={}, paced={})
    loops = []
    for table in chosen(words):
        its[table.name] = {}
        loops.append(Loop(table, settings, nats, questdb, stop, its[table.name], clock=clock, monotonic=monotonic))
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(watch(questdb, Path(settings.data_dir), stop, health))]
            if "trades" in its:
                watchers.append(group.create_task(_views.keep(questdb, stop, health)))
            if "trades" in its and settings.consumer.audit:
                group.create_task(_completeness.keep(settings, auditing, stop, health, its["trades"], clock=clock))
            for loop in loops:
                group.create_task(loop.run())
            await stop.wait()
            for watcher in watchers:
                watcher.cancel()
    finally:
        await questdb.close()
        await auditing.close()
