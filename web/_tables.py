"""Reading the tables as the user that may only read, a few queries at once, each for a bounded time."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from schemas.settings import QuestdbSettings
from web._errors import ApiError

QUERIES_MAX = 4
WAIT_S_MAX, QUERY_S_MAX = 10.0, 15.0


def reader_url(settings: QuestdbSettings) -> str:
    """The address of the Postgres port with the login that may only read."""
    parts = urlsplit(settings.pg)
    place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return urlunsplit(parts._replace(netloc=f"{settings.reader}@{place}"))


class Tables:
    """At most QUERIES_MAX statements at once; one that waits or runs too long is an ApiError 503 or 504."""

    def __init__(self, settings: QuestdbSettings) -> None:
        url = reader_url(settings)
        self._idle = [Questdb(url, timeout_s=QUERY_S_MAX) for _ in range(QUERIES_MAX)]
        self._all = list(self._idle)
        self._free = asyncio.Semaphore(QUERIES_MAX)

    async def fetch(self, name: str, *values: Any, **words: str | int) -> list[tuple[Any, ...]]:
        """The rows of ``sql/statements/<name>.sql`` with ``values`` bound. Raises ApiError."""
        try:
            await asyncio.wait_for(self._free.acquire(), WAIT_S_MAX)
        except TimeoutError as error:
            raise ApiError(503, "busy", "too many queries at once; try again") from error
        questdb = self._idle.pop()
        try:
            return await questdb.fetch(statement(name, **words), *values)
        except QuestdbUnreachable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise ApiError(
                    504, "timeout", f"the query took longer than {QUERY_S_MAX:.0f} s; ask for less"
                ) from error
            raise ApiError(503, "tables_away", "QuestDB does not answer") from error
        except QuestdbRefused as error:
            raise ApiError(503, "tables_away", f"QuestDB: {error.reason}") from error
        finally:
            self._idle.append(questdb)
            self._free.release()

    async def close(self) -> None:
        """Let the connections go."""
        for questdb in self._all:
            await questdb.close()
