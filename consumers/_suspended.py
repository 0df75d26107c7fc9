"""Watches for suspended tables: QuestDB goes on taking rows for them and shows none, and never resumes by itself."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import structlog

from consumers._patience import stopped_within
from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement

log = structlog.get_logger()
EVERY_S = 5.0
ROUNDS_MAX = 12
"""Most rounds to let pass before a table is resumed once more."""
FREE_BYTES_MIN = 256 * 1024 * 1024
"""With less free space than this a table that ran out of it would only be suspended again."""


class Suspensions:
    """The suspended tables now, and how many rounds each has left until it is resumed again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._wait: dict[str, int] = {}
        self._tries: dict[str, int] = {}

    async def round(self, questdb: Questdb, health: dict[str, Any]) -> None:
        """Look once, tell ``health["suspended"]``, resume what may go on. Raises QuestdbUnreachable."""
        rows = await questdb.fetch(statement("suspended"))
        now = {name: tag or message or "suspended" for name, tag, message in rows}
        for name in self._tries.keys() - now.keys():
            log.info("table_resumed", table=name)
            del self._tries[name], self._wait[name]
        for name, reason in now.items():
            if name not in self._tries:
                log.warning("table_suspended", table=name, reason=reason)
                self._tries[name] = self._wait[name] = 0
        health["suspended"] = {name: str(reason)[:200] for name, reason in now.items()}
        if shutil.disk_usage(self._data_dir).free < FREE_BYTES_MIN:
            return
        for name in now:
            await self._resume(questdb, name)

    async def _resume(self, questdb: Questdb, name: str) -> None:
        if self._wait[name] > 0:
            self._wait[name] -= 1
            return
        self._tries[name] += 1
        self._wait[name] = min(ROUNDS_MAX, 2 ** self._tries[name] - 1)
        verb = "resume_view" if "_OHLC_" in name else "resume_table"
        try:
            await questdb.fetch(statement(verb, table=name))
        except QuestdbRefused as error:
            log.warning("table_not_resumed", table=name, reason=error.reason)


async def watch(questdb: Questdb, data_dir: Path, stop: asyncio.Event, health: dict[str, Any]) -> None:
    """Look every few seconds until ``stop``."""
    suspensions = Suspensions(data_dir)
    while not stop.is_set():
        try:
            await suspensions.round(questdb, health)
        except (QuestdbUnreachable, QuestdbRefused, OSError) as error:
            log.info("suspensions_unknown", reason=str(error)[:200])
        await stopped_within(stop, EVERY_S)
