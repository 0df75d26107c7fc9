"""Channels that only REST has: asked once a slot, each answer parsed like a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from producers._connection import Surroundings, backoff_s
from producers._exchange import UNREADABLE, Poll, Request, Setup
from producers._rest import Asking, RestError
from producers._revisions import Sink

log = structlog.get_logger()


class Polling:
    """One channel's polls. ``natives`` gives the symbols wanted now; ``every_us`` is the slot."""

    def __init__(
        self, channel: str, poll: Poll, setup: Setup, natives: Callable[[], Sequence[str]], every_us: int,
        rest: Asking, sink: Sink, around: Surroundings,
    ) -> None:  # fmt: skip
        self.name, self._poll, self._setup, self._natives = channel, poll, setup, natives
        self._every_us, self._rest, self._sink, self._around = every_us, rest, sink, around
        self.counts = {"polls": 0, "events": 0, "errors": 0}

    async def run(self) -> None:
        """Poll until told to stop."""
        failures = 0
        while not self._around.stop.is_set():
            failed = False
            for request in self._poll.requests(self._natives(), self._setup, self._around.clock()):
                if self._around.stop.is_set():
                    return
                failed |= not await self._ask(request)
            failures = failures + 1 if failed else 0
            now = self._around.clock()
            next_slot_s = (self._every_us - now % self._every_us) / 1e6
            # After a failure the slot is tried again rather than missed.
            pause_s = min(next_slot_s, backoff_s(failures, self._around.rng)) if failed else next_slot_s
            await self._around.pause(pause_s)

    async def _ask(self, request: Request) -> bool:
        self.counts["polls"] += 1
        try:
            body = await self._rest.get(request)
        except RestError as error:
            self.counts["errors"] += 1
            log.warning("poll_failed", channel=self.name, symbol=request.symbol, error=str(error)[:300])
            return False
        try:
            for event in self._poll.parse(body, request, self._around.clock(), self._setup):
                self._sink.add(event)
                self.counts["events"] += 1
        except UNREADABLE as error:
            self.counts["errors"] += 1
            self._sink.dead(self.name, self._setup.exchange, body, str(error), request.url)
        return True
