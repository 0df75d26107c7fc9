"""A book kept from a snapshot and the changes after it: whole, or not published at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest, nsmallest
from math import inf

from producers._exchange import FrameError
from producers._feeds import Feed
from producers._session import BaseSession, sized
from schemas import time
from schemas.events import Book, Level

LEVELS_MAX = 10_000
"""Levels a side; an exchange sends fewer, so more of them means that deletions were missed."""
Levels = Iterable[tuple[float, ...]]
"""Price and size first, in the exchange's units; what follows is ignored."""


class Ladder:
    """One symbol's book. The session checks the exchange's chain and says ``lose`` where it does not hold."""

    __slots__ = ("_asks", "_bids", "sequence", "whole")

    def __init__(self) -> None:
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
        _set(self._bids, bids)
        _set(self._asks, asks)
        self.sequence, self.whole = sequence, True

    def lose(self) -> None:
        """Forget everything: nothing is published until the next snapshot."""
        self._bids.clear()
        self._asks.clear()
        self.sequence, self.whole = -1, False

    def book(self, session: BaseSession, feed: Feed, timestamp: int, received: int) -> Sequence[Book]:
        """The top of the book in base units, once per slot; nothing while it is not whole or is crossed."""
        options = session.options
        if not self.whole or 0 < time.floor(timestamp, options.book_every) <= feed.slot:
            return ()
        bids: list[Level] = nlargest(options.book_depth, self._bids.items())
        asks: list[Level] = nsmallest(options.book_depth, self._asks.items())
        if bids and asks and bids[0][0] >= asks[0][0]:
            return ()
        return session.book(feed, timestamp, received, max(self.sequence, 0), in_base(feed, bids), in_base(feed, asks))


def in_base(feed: Feed, levels: Iterable[tuple[float, ...]]) -> list[Level]:
    """Levels with their sizes in base units."""
    return [(level[0], sized(feed, level[0], level[1], "book")[0]) for level in levels]


def _set(side: dict[float, float], levels: Levels) -> None:
    for level in levels:
        price, size = level[0], level[1]
        if not (0.0 < price < inf and 0.0 <= size < inf):
            raise FrameError(f"a level of {size!r} at {price!r}", kind="book")
        if size:
            side[price] = size
        else:
            side.pop(price, None)
    if len(side) > LEVELS_MAX:
        raise FrameError(f"more than {LEVELS_MAX} levels", kind="book")
