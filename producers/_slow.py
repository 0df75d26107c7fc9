"""What a worker does beyond listening for klines, open interest and funding: wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nats.aio.client import Client

from producers._aggregate import base_of
from producers._backfill import Backfill, Reader
from producers._connection import Surroundings
from producers._coverage import Coverage
from producers._exchange import Channel, Setup
from producers._outbox import Outbox
from producers._rest import RestClient
from producers._revisions import Revisions


class Slow:
    """Coverage, history and the watch over what should have come, of one exchange's slow ``channels``."""

    def __init__(
        self, channels: Mapping[str, Channel], setup: Setup, nats: Client, rest: RestClient, outbox: Outbox,
        sink: Revisions, around: Surroundings, *, natives: Callable[[], Sequence[str]], connected: Callable[[], bool],
        back_us: int,
    ) -> None:  # fmt: skip
        options, self._around = setup.options, around
        slots = {"open_interest": options.open_interest_every, "funding": options.funding_every}
        self._coverage = Coverage(
            nats, setup.exchange, outbox, sink, around, slots=slots, derived=_derived(channels, options.intervals)
        )
        sink.told = self._coverage.told
        self._backfill = Backfill(
            channels, setup, Reader(setup, rest, sink, outbox, around), self._coverage, around, natives=natives,
            connected=connected, back_us=back_us,
        )  # fmt: skip

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Learn what an earlier life left, then work beside everything else."""
        await self._coverage.load()
        tasks.create_task(self._coverage.run())
        for work in (self._backfill.follow(), self._backfill.fill()):
            tasks.create_task(self._around.heed(work))

    async def close(self) -> None:
        """Store what is done, once everything was sent or is on disk."""
        await self._coverage.close()

    def summary(self) -> str:
        """How far history has come, in a few words; empty once all of it is there."""
        return self._backfill.summary()

    def health(self) -> dict[str, Any]:
        """Counters, and how far history has come."""
        return self._backfill.health()


def _derived(channels: Mapping[str, Channel], intervals: Sequence[str]) -> dict[str, list[str]]:
    """By interval: those that are made of it."""
    past = channels["klines"].past if "klines" in channels else None
    found: dict[str, list[str]] = {}
    for interval in intervals if past is not None else ():
        assert past is not None
        base = None if interval in past.intervals else base_of(interval, past.intervals, past.rows_max)
        if base is not None:
            found.setdefault(base, []).append(interval)
    return found
