"""Rolling windows of closed minutes, kept by adding the newest and taking the oldest away."""

from __future__ import annotations

from schemas import time
from schemas.names import rolling
from signals._candle import Candle
from signals._layout import CLOCK, GRACE
from signals._ledger import Ledger
from signals._state import State
from signals._window import Window, frame_of, joined

RANGES = {rolling(text): time.duration(text) for text in ("4h", "24h")}
"""Those of the default settings."""


def lengths(wanted: list[str]) -> dict[str, int]:
    """Range names and their lengths."""
    return {rolling(text): time.duration(text) for text in wanted}


class Rolling:
    """Windows by slot and range. ``Ledger`` tells it about minutes; what it needs again it reads there."""

    def __init__(self, state: State, ledger: Ledger, ranges: dict[str, int]) -> None:
        self._state = state
        self._ledger = ledger
        self._ranges = ranges
        self._windows: dict[int, dict[str, Window]] = {}
        self.dirty: set[int] = set()
        """Slots whose windows moved or changed."""

    def until(self, exchange: int) -> int:
        """The end of the last minute that is closed by the exchange's clock."""
        closed = int(self._state.clocks[exchange, CLOCK]) - GRACE
        return closed - closed % time.MINUTE

    def begin(self, slot: int, length: int) -> int:
        """The first minute of a window: the open minute is its last."""
        return self.until(int(self._state.exchange_of[slot])) + time.MINUTE - length

    def windows(self, slot: int) -> dict[str, Window]:
        """The windows of a slot, filled from the ledger the first time."""
        found = self._windows.get(slot)
        if found is None:
            found = self._windows[slot] = {name: Window(length) for name, length in self._ranges.items()}
            self._renew(slot, *found.values())
        return found

    def _renew(self, slot: int, *windows: Window) -> None:
        """Fill windows anew; the longest holds what the others do, and minutes are read once."""
        longest = max((window.length for window in windows), default=0)
        begin = self.begin(slot, longest)
        minutes = self._ledger.between(slot, self._state.spans.minute, begin, begin + longest)
        for window in windows:
            own = self.begin(slot, window.length)
            window.renew(minute for minute in minutes if minute.timestamp >= own)

    def changed(self, slot: int, old: Candle | None, new: Candle) -> None:
        """A closed minute is new, or other than it was."""
        self.dirty.add(slot)
        windows = self._windows.get(slot)
        if windows is None:
            return
        for window in windows.values():
            if new.timestamp < self.begin(slot, window.length):
                continue
            if old is not None and old.timestamp in window.members:
                window.rows.add(old, -1)
            window.members[new.timestamp] = frame_of(new)
            if not window.fits():
                window.rows = window.rows.converted(joined(set(window.members.values())))
            window.rows.add(new, 1)

    def closed(self, exchange: int, until: int) -> None:
        """Minutes up to ``until`` are closed: what has left the windows is taken away."""
        self.dirty.update(self._state.slots_of(exchange).tolist())
        for slot, windows in self._windows.items():
            if self._state.exchange_of[slot] != exchange:
                continue
            for window in windows.values():
                self._leave(slot, window, until + time.MINUTE - window.length)

    def _leave(self, slot: int, window: Window, begin: int) -> None:
        gone = [at for at in window.members if at < begin]
        for at in gone:
            minute = self._ledger.get(slot, self._state.spans.minute, at)
            del window.members[at]
            if minute is not None:
                window.rows.add(minute, -1)
        if gone and not window.fits():
            self._renew(slot, window)
