"""Order books kept from snapshots and changes, for exchanges that do not send the whole top each time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import inf

from producers._exchange import FrameError
from schemas.events import Level

LEVELS_MAX = 100_000
"""Of a side, where the exchange sends the whole book; the worst go first."""
RESYNC_US = 10_000_000
"""A book is asked for anew at most so often."""


class Side:
    """One side's levels. ``sign`` 1: the highest price is the best (bids); -1: the lowest (asks)."""

    __slots__ = ("_depth", "_keys", "_sign", "sizes")

    def __init__(self, sign: int, depth: int) -> None:
        self._sign, self._depth = sign, depth
        self._keys: list[float] = []  # ascending by how good they are: what changes is near the end
        self.sizes: dict[float, float] = {}

    def set(self, price: float, size: float) -> None:
        """Put ``size`` at ``price``; 0 takes the level away. Raises FrameError for what is no level."""
        if not (0.0 < price < inf and 0.0 <= size < inf):
            raise FrameError(f"a level of {size!r} at {price!r}", kind="book")
        if size:
            if price not in self.sizes:
                insort(self._keys, price * self._sign)
            self.sizes[price] = size
        elif self.sizes.pop(price, None) is not None:
            del self._keys[bisect_left(self._keys, price * self._sign)]

    def trim(self) -> None:
        """Forget what lies beyond the depth: the exchange no longer speaks of it."""
        surplus = len(self._keys) - self._depth
        if surplus > 0:
            for key in self._keys[:surplus]:
                del self.sizes[key * self._sign]
            del self._keys[:surplus]

    def top(self, count: int) -> list[Level]:
        """The best levels, best first."""
        return [(price, self.sizes[price]) for price in (key * self._sign for key in self._keys[: -count - 1 : -1])]


class Ladder:
    """The book of one symbol. Not ``whole`` before a snapshot and after a break in its chain."""

    __slots__ = ("asked", "asks", "bids", "depth", "sequence", "whole")

    def __init__(self, depth: int = LEVELS_MAX) -> None:
        self.depth = depth
        self.whole = False
        self.sequence = 0
        self.asked = 0
        """When it was last asked for anew, µs."""
        self.bids, self.asks = Side(1, depth), Side(-1, depth)

    def start(self, bids: Iterable[Level], asks: Iterable[Level], sequence: int = 0) -> None:
        """Begin with a snapshot. Levels of size 0 are none."""
        self.whole, self.sequence = False, sequence
        self.bids, self.asks = Side(1, self.depth), Side(-1, self.depth)
        self.change(bids, asks)
        self.whole = True

    def change(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take in changed levels. Raises FrameError for what is no level: the book is then no longer whole."""
        whole, self.whole = self.whole, False
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                side.set(price, size)
            side.trim()
        self.whole = whole

    def lost(self, received: int) -> bool:
        """Say that the chain is broken; whether it is time to ask for a new snapshot."""
        self.whole = False
        if self.asked and received - self.asked < RESYNC_US:
            return False
        self.asked = received or 1
        return True
