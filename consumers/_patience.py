"""Waiting for servers that are away: again and again, ever less often, until it works or we are to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from nats.errors import Error as NatsError

from consumers._questdb import QuestdbRefused, QuestdbUnreachable

log = structlog.get_logger()
PAUSE_S_MIN, PAUSE_S_MAX = 0.2, 5.0


class Stopped(Exception):
    """Asked to stop while a server was away: what is held stays unacked and is delivered again."""


class Patience:
    """One table's. ``health["held"]`` says what is being waited for, empty when nothing is."""

    def __init__(self, table: str, stop: asyncio.Event, health: dict[str, Any]) -> None:
        self._table, self._stop, self._health = table, stop, health

    async def until_done(
        self, act: Callable[[], Awaitable[object]], meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        """Do ``act`` until it succeeds, ``meanwhile`` after each failure. Raises Stopped when asked to stop."""
        pause_s = PAUSE_S_MIN
        while not await self._succeeds(act):
            if await stopped_within(self._stop, pause_s):
                raise Stopped
            pause_s = min(PAUSE_S_MAX, 2 * pause_s)
            await meanwhile()

    async def _succeeds(self, act: Callable[[], Awaitable[object]]) -> bool:
        try:
            await act()
        except (QuestdbUnreachable, QuestdbRefused, NatsError, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            if not self._health["held"]:
                log.warning("table_waits", table=self._table, reason=reason)
            self._health["held"] = reason
            return False
        if self._health["held"]:
            log.info("table_goes_on", table=self._table)
            self._health["held"] = ""
        return True


async def stopped_within(stop: asyncio.Event, pause_s: float) -> bool:
    """Wait; True at once when asked to stop meanwhile."""
    try:
        await asyncio.wait_for(stop.wait(), pause_s)
    except TimeoutError:
        return False
    return True
