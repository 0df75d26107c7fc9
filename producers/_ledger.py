"""Every hole of an exchange's trades, from the id that did not come to the proof that it is closed."""

from __future__ import annotations

from typing import Any

import structlog
from nats.aio.client import Client

from producers._connection import Surroundings
from producers._cursors import Cursors
from producers._exchange import Exchange, Setup
from producers._feeds import Feed
from producers._fill import Filler
from producers._orphans import Orphans
from producers._outbox import Outbox
from producers._rest import RestClient
from schemas.events import Gap
from schemas.names import CAUSE_RETENTION, CAUSE_SPOOL, gap_key

CHANNEL = "trades"
LOOK_S, ABSENT_S = 0.05, 5.0
LOOK_EVERY_S = 10.0
"""How often it is looked for gaps that consumers found, what the log lost before the tables had it, and for orphans."""
LOST_MAX = 10_000
SYNC_S = 2.0
"""The log acknowledges before it is on disk, up to a second before: a mark must not survive what it vouches for."""
log = structlog.get_logger()


class Ledger:
    """Gaps and marks of one exchange. A mark is stored once all it vouches for is in the log."""

    def __init__(
        self, exchange: Exchange, setup: Setup, nats: Client, rest: RestClient, outbox: Outbox, around: Surroundings
    ) -> None:
        self._setup, self._outbox, self._around = setup, outbox, around
        self._cursors = Cursors(nats, setup.exchange, around.clock)
        self._filler = Filler(exchange, setup, rest, outbox, around, self._changed)
        self._orphans = Orphans(nats, setup.exchange, CHANNEL, around.clock)
        outbox.dropped = self._dropped
        self._loaded = False
        self._changes: dict[str, Gap] = {}
        """By key: gaps whose last state the bucket does not have yet."""
        self._resumed: list[Gap] = []
        self._lost: set[tuple[str, int]] = set()
        """Gaps that consumers found and that were taken up: key, and when it was put there."""
        self._looked, self._adopted = around.monotonic(), 0
        self._known: set[str] = set()
        """Symbols an earlier life has heard."""

    async def load(self) -> None:
        """Learn what an earlier life left; where that is not possible now it is tried again while running."""
        self._loaded = await self._cursors.load()
        self._resumed, self._cursors.gaps = self._cursors.gaps, []
        for feed in self._feeds():
            self.begin(feed)

    def begin(self, feed: Feed) -> None:
        """Continue a feed where an earlier life left it."""
        mark = self._cursors.marks.pop(feed.symbol, None)
        if mark is not None:
            self._known.add(feed.symbol)
            feed.resume(mark, self._around.clock())

    def fresh(self) -> list[Feed]:
        """Feeds no earlier life has heard; none as long as that is not known."""
        return [feed for feed in self._feeds() if feed.symbol not in self._known] if self._loaded else []

    def open(self, gap: Gap) -> None:
        """Tell of a new gap, and begin to fill it."""
        self._outbox.add(gap)
        if gap.channel == CHANNEL:
            self._changes[gap_key(gap)] = gap
            self._filler.take(gap, self._native(gap.symbol))

    def _dropped(self, gap: Gap) -> None:
        """Ask again for what found no room; what the log refused it would refuse again."""
        if gap.cause == CAUSE_SPOOL:
            self.open(gap)
        else:
            self._outbox.add(gap)

    async def fill(self) -> None:
        """Fill gaps until told to stop."""
        await self._filler.run()

    async def run(self) -> None:
        """Keep the bucket up to date until told to stop."""
        while not self._around.stop.is_set():
            if not self._loaded:
                await self._around.pause(ABSENT_S)
                await self.load()
                continue
            for gap in self._resumed:
                self._resume(gap)
            self._resumed = []
            await self._store(wait=True)
            if self._around.monotonic() - self._looked > LOOK_EVERY_S:
                self._looked = self._around.monotonic()
                await self._look()

    async def _look(self) -> None:
        """Take up what nobody else will."""
        for gap in await self._cursors.look():
            if (gap_key(gap), gap.received) not in self._lost:
                self._resume(gap)
        for gap in await self._orphans.look(self._filler.gaps()):
            self._adopted += 1
            log.warning("gap_adopted", exchange=gap.exchange, symbol=gap.symbol, from_id=gap.from_id)
            self._resume(gap)

    def _resume(self, gap: Gap) -> None:
        """Fill a gap that somebody else found; what a consumer found has not been told of yet."""
        if gap.cause == CAUSE_RETENTION:
            if len(self._lost) >= LOST_MAX:
                self._lost.clear()  # at worst one of them is filled twice
            self._lost.add((gap_key(gap), gap.received))
            self._outbox.add(gap)
        self._filler.take(gap, self._native(gap.symbol))

    async def close(self) -> None:
        """Store the last marks, once everything was sent or is on disk."""
        if self._loaded:
            await self._store(wait=False)

    async def _store(self, *, wait: bool) -> None:
        changes, self._changes = self._changes, {}
        marks = {feed.symbol: mark for feed in self._feeds() if (mark := feed.mark()) is not None}
        stored = self._outbox.fence()
        while wait and not stored():
            if self._around.stop.is_set():
                break
            await self._around.pause(LOOK_S)
        if wait:
            await self._around.pause(SYNC_S)
        if (wait and not stored()) or not await self._cursors.store(changes, marks):
            self._changes = changes | self._changes

    def _changed(self, gap: Gap) -> None:
        self._outbox.add(gap)
        self._changes[gap_key(gap)] = gap

    def _feeds(self) -> list[Feed]:
        return list(self._setup.feeds.channel(CHANNEL).values())

    def _native(self, symbol: str) -> str | None:
        return next((feed.native for feed in self._feeds() if feed.symbol == symbol), None)

    def health(self) -> dict[str, Any]:
        """Counters and gauges; ``symbols``: open gaps by symbol."""
        more = {"adopted": self._adopted, "open": self._filler.open, "symbols": self._filler.symbols()}
        return self._filler.counts | more
