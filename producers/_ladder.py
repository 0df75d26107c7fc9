"""A book kept from a snapshot and the changes after it: whole, or not published at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from heapq import nlargest, nsmallest
from math import inf

from producers._exchange import FrameError
from producers._feeds import Feed
from producers._session import BaseSession, sized
from schemas import time
from schemas.events import Book, Level

LEVELS_MAX = 10_000
"""Levels a side; an exchange sends fewer, so more of them means that deletions were missed."""
RESYNC_US = 10_000_000
"""A book is asked for anew at most so often."""
_SORTED_MAX = 500
Levels = Iterable[tuple[float, ...]]
"""Price and size first, in the exchange's units; what follows is ignored."""


class Ladder:
    """One symbol's book. The session checks the exchange's chain and says ``lose`` where it does not hold.

    ``depth``: levels a side that the exchange keeps us informed about; what falls behind them is forgotten.
    """

    __slots__ = ("_asked", "_asks", "_bids", "_depth", "_levels_max", "sequence", "whole")

    def __init__(self, levels_max: int = LEVELS_MAX, depth: int = 0) -> None:
        self._levels_max, self._depth = levels_max, depth
        self._asked = 0
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self.sequence = -1
        """The exchange's number of the last message applied."""
        self.whole = False

    def begin(self, bids: Levels, asks: Levels, sequence: int) -> None:
        """Start from a snapshot. Raises FrameError for a level that cannot be; the book is lost then."""
        self.lose()
        self.change(bids, asks, sequence)

    def change(self, bids: Levels, asks: Levels, sequence: int) -> None:
        """Set levels to new sizes, 0 deletes. Raises FrameError as ``begin``."""
        self.whole = False
        self._set(self._bids, bids)
        self._set(self._asks, asks)
        if self._depth and len(self._bids) > self._depth:
            for price in sorted(self._bids, reverse=True)[self._depth :]:
                del self._bids[price]
        if self._depth and len(self._asks) > self._depth:
            for price in sorted(self._asks)[self._depth :]:
                del self._asks[price]
        self.sequence, self.whole = sequence, True

    def lose(self) -> None:
        """Forget everything: nothing is published until the next snapshot."""
        self._bids.clear()
        self._asks.clear()
        self.sequence, self.whole = -1, False

    def lost(self, session: BaseSession, feed: Feed, topic: str, received: int) -> None:
        """``lose``, count it, and have the topic subscribed anew; said again, asks again after a while."""
        self.lose()
        if not self._asked or received - self._asked >= RESYNC_US:
            self._asked = received or 1
            feed.breaks += 1
            session.broken.add(topic)

    def top(self, count: int) -> tuple[list[Level], list[Level]]:
        """The best bids and asks, best first, in the exchange's units."""
        bids, asks = self._bids.items(), self._asks.items()
        if len(bids) + len(asks) < _SORTED_MAX:  # to sort few is quicker than to pick the best of them
            return sorted(bids, reverse=True)[:count], sorted(asks)[:count]
        return nlargest(count, bids), nsmallest(count, asks)

    def book(self, session: BaseSession, feed: Feed, timestamp: int, received: int) -> Sequence[Book]:
        """The top of the book in base units, once per slot; nothing while it is not whole or is crossed."""
        options = session.options
        if not self.whole or 0 < time.floor(timestamp, options.book_every) <= feed.slot:
            return ()
        bids, asks = self.top(options.book_depth)
        if bids and asks and bids[0][0] >= asks[0][0]:
            return ()
        return session.book(feed, timestamp, received, max(self.sequence, 0), in_base(feed, bids), in_base(feed, asks))

    def _set(self, side: dict[float, float], levels: Levels) -> None:
        for level in levels:
            price, size = level[0], level[1]
            if not (0.0 < price < inf and 0.0 <= size < inf):
                raise FrameError(f"a level of {size!r} at {price!r}", kind="book")
            if size:
                side[price] = size
            else:
                side.pop(price, None)
        if len(side) > self._levels_max:
            raise FrameError(f"more than {self._levels_max} levels", kind="book")


def suspects(raw: bytes, named: re.Pattern[bytes], books: Collection[str]) -> list[str]:
    """Whose book a message that cannot be read may have been about: the one it names (group 1), else all of them."""
    found = named.search(raw)
    name = found[1].decode("utf-8", "replace") if found else ""
    return [name] if name in books else list(books)


def in_base(feed: Feed, levels: Iterable[tuple[float, ...]]) -> list[Level]:
    """Levels with their sizes in base units."""
    return [(level[0], sized(feed, level[0], level[1], "book")[0]) for level in levels]
