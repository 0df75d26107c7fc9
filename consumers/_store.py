"""Events into the rows of one table: spread, written, and those QuestDB can never take named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic

import msgspec

from consumers._batch import Batch, Sieve
from consumers._questdb import Questdb
from consumers._sender import Refused, Writer
from consumers._table import E, Table


class Store(Generic[E]):
    """Where a table's events go. ``url`` is that of QuestDB's HTTP port."""

    def __init__(self, table: Table[E], url: str, questdb: Questdb, sieve: Sieve[E]) -> None:
        self._table, self._questdb, self._sieve = table, questdb, sieve
        self._writer = Writer(url, table.name, table.layout)

    async def write(self, batch: Batch[E]) -> None:
        """Store the batch's events, in order, count its rows, and bury events one of whose rows was refused.

        Raises QuestdbUnreachable, QuestdbRefused: then write the same again.
        """
        rows, of = self._spread(batch.events)
        if self._table.replaced is not None:
            rows += await self._table.replaced(self._questdb, batch.events)
        refused: list[Refused] = []
        for first in range(0, len(rows), self._table.flush_rows_max):
            part = rows[first : first + self._table.flush_rows_max]
            refused += [Refused(first + at, why) for at, why in await asyncio.to_thread(self._writer.write, part)]
        for index, why in {of[at]: why for at, why in refused if at < len(of)}.items():
            self._sieve.bury_row(batch, index, why)
        batch.rows = len(rows) - len(refused)

    def _spread(self, events: Sequence[E]) -> tuple[list[msgspec.Struct], list[int]]:
        """The rows of events, and of which event each is."""
        if self._table.rows is None:
            return list(events), list(range(len(events)))
        rows: list[msgspec.Struct] = []
        of: list[int] = []
        for index, event in enumerate(events):
            its = list(self._table.rows(event))
            rows += its
            of += [index] * len(its)
        return rows, of

    def close(self) -> None:
        """Let the connection go; the next write makes a new one."""
        self._writer.close()
