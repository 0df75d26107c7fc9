"""Is a symbol whose trades do not come really not trading? The book that moves asks, the exchange's REST answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog

from producers._connection import Surroundings
from producers._exchange import UNREADABLE, Recent, Setup
from producers._feeds import Feed
from producers._rest import RestClient, RestError
from schemas import time

LOOK_S = 5.0
QUIET_S = 30.0
"""Silent for longer, while its book moves, is worth a question."""
MOVES_MIN = 20
"""Messages of the book meanwhile."""
AGAIN_S = 60.0
ASKED_MAX = 4
"""Symbols asked for in one look, the longest silent first."""
SHARE = 0.6
SETTLED_US = 5 * time.SECOND
"""A trade younger than this may still be on its way to us."""
log = structlog.get_logger()


class _Watched:
    """A feed of trades: what was counted when it was last heard, and when."""

    def __init__(self, feed: Feed, book: Feed | None, now: float) -> None:
        self.feed, self.book = feed, book
        self.asked = float("-inf")
        self.note(now)

    def note(self, now: float) -> None:
        self.frames, self.moves, self.since = self.feed.frames, self.book.frames if self.book else 0, now

    def suspicious(self, now: float) -> bool:
        """Whether it is silent for long although its book moves. A feed without a book is judged by time alone."""
        if self.feed.frames != self.frames:
            self.note(now)
        moved = self.book is None or self.book.frames - self.moves >= MOVES_MIN
        return moved and now - self.since > QUIET_S and now - self.asked > AGAIN_S


class Evidence:
    """Asks about silent symbols, and calls ``mute(feed, reason)`` where a subscription left trades out."""

    def __init__(
        self, recent: Recent, setup: Setup, rest: RestClient, around: Surroundings, mute: Callable[[Feed, str], None]
    ) -> None:
        self._recent, self._setup, self._rest, self._around, self._mute = recent, setup, rest, around, mute
        self._watched: dict[str, _Watched] = {}
        self.counts = {"asked": 0, "quiet": 0, "mute": 0, "unanswered": 0}

    async def run(self) -> None:
        """Look again and again until told to stop."""
        while not self._around.stop.is_set():
            await self._around.pause(LOOK_S)
            for watched in self._suspicious():
                await self._ask(watched)

    def _suspicious(self) -> list[_Watched]:
        now, feeds = self._around.monotonic(), self._setup.feeds
        books = feeds.channel("books") if "books" in self._setup.options.channels else {}
        found = []
        for native, feed in feeds.channel("trades").items():
            if native not in self._watched:
                self._watched[native] = _Watched(feed, books.get(native), now)
            if self._watched[native].suspicious(now):
                found.append(self._watched[native])
        return sorted(found, key=lambda watched: watched.since)[:ASKED_MAX]

    async def _ask(self, watched: _Watched) -> None:
        """Trades the exchange has made since the last one we heard are the proof."""
        feed, now = watched.feed, self._around.clock()
        watched.asked = self._around.monotonic()
        silent_us = int((watched.asked - watched.since) * 1e6)
        start, end = max(feed.seen + 1, now - silent_us), now - SETTLED_US
        if start >= end:
            return
        self.counts["asked"] += 1
        request = self._recent.request(feed.native, start, end)
        try:
            page = self._recent.parse(await self._rest.get(request, share=SHARE), request, now, self._setup)
        except (RestError, *UNREADABLE) as error:
            self.counts["unanswered"] += 1
            log.info("evidence_unavailable", exchange=self._setup.exchange, symbol=feed.symbol, error=str(error)[:200])
            return
        missed = _between(page.rows, start, end)
        self.counts["mute" if missed else "quiet"] += 1
        if missed and feed.frames == watched.frames:
            log.error("silent_but_trading", exchange=self._setup.exchange, symbol=feed.symbol, trades=missed,
                      silent_s=silent_us // 1_000_000)  # fmt: skip
            self._mute(feed, f"{feed.symbol} trades, and its subscription is silent")

    def health(self) -> dict[str, Any]:
        """Counters."""
        return dict(self.counts)


def _between(rows: Iterable[Any], start: int, end: int) -> int:
    return sum(start <= row.timestamp < end for row in rows)
