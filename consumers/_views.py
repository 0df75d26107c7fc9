"""Keeps the long views affordable: QuestDB reads a whole day of trades again whenever one of that day is written.

A refresh makes every bucket anew that a commit touched. Of seconds and minutes that costs nothing; of a day with forty
million trades it took most of a second, several times a second. Such a view is refreshed when asked to, and asked so
seldom that it costs a small share of a core; when its bucket is new and small, with every commit as ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from consumers._patience import stopped_within
from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from schemas import time

log = structlog.get_logger()
EVERY_S = 1.0
SLOW, QUICK = 200 * time.MILLISECOND, 50 * time.MILLISECOND
"""A refresh that takes longer is not done with every commit any more; one that takes less is again."""
SHARE = 0.05
"""The part of a core that the refreshes of one slow view may take."""


async def pace(questdb: Questdb) -> dict[str, int]:
    """Look at every long view once. Returns those that are refreshed when asked to, and how long that takes, µs.

    Raises QuestdbUnreachable, QuestdbRefused.
    """
    paced: dict[str, int] = {}
    for view, immediate, behind, took, ago in await questdb.fetch(statement("views")):
        if took is None or took < 0:  # it was never refreshed, or is now
            continue
        if immediate and took > SLOW:
            await questdb.fetch(statement("pace_view", view=view))
            log.info("view_paced", view=view, refresh_s=took / time.SECOND)
        elif not immediate and took < QUICK:
            await questdb.fetch(statement("unpace_view", view=view))
            await questdb.fetch(statement("refresh_view", view=view))  # what came before is no reason to look again
            log.info("view_unpaced", view=view, refresh_s=took / time.SECOND)
        elif not immediate:
            paced[view] = took
            if behind and ago > took / SHARE:
                await questdb.fetch(statement("refresh_view", view=view))
    return paced


async def keep(questdb: Questdb, stop: asyncio.Event, health: dict[str, Any]) -> None:
    """Pace them until ``stop``; ``health["paced"]`` has the slow ones, and how many seconds a refresh of each takes."""
    while not stop.is_set():
        try:
            health["paced"] = {view: took / time.SECOND for view, took in (await pace(questdb)).items()}
        except (QuestdbUnreachable, QuestdbRefused) as error:
            log.info("views_wait", reason=str(error)[:200])
        await stopped_within(stop, EVERY_S)
