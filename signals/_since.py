"""Ranges with a fixed beginning, the week and anchors: the sums of their closed minutes, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from schemas import time
from schemas.names import anchored
from signals._candle import Candle
from signals._layout import CLOCK, DAY, GRACE, Ints
from signals._ledger import Ledger
from signals._moments import NOTHING, Moments, moments
from signals._state import State
from signals._window import Frame, Rows, frame_of, joined

WEEK_NAME = "week"
ROWS_KEPT = 2048
"""A sum doubles its row beyond so many. What is shown doubles until 400, so it comes out the same."""


class Kept(msgspec.Struct):
    """A sum in a snapshot. Numbers that may exceed 64 bits are text."""

    slot: int
    name: str
    begin: int
    row: str
    step: str
    first: int
    buy: bytes
    sell: bytes
    moments: list[str]


class Sum:
    """Closed minutes since ``begin``."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.rows = Rows(Frame(1, 1))
        self.moments: Moments = NOTHING

    def add(self, candle: Candle, sign: int) -> None:
        """Add a candle, or take it away; a coarser candle makes the sum coarser for good."""
        own = frame_of(candle)
        frame = joined((self.rows.frame, own)) if len(self.rows.buy) else own
        if frame != self.rows.frame:
            self.rows = self.rows.converted(frame)
        self.rows.add(candle, sign)
        self.moments = self.moments.plus(moments(candle), sign)
        while len(self.rows.buy) > ROWS_KEPT and self.rows.reach() > ROWS_KEPT:  # ends: every round halves it
            self.rows = self.rows.converted(Frame(self.rows.frame.row * 2, self.rows.frame.step))


class Since:
    """Sums by slot and range. ``Ledger`` tells it about minutes; what was before, it reads there the first time."""

    def __init__(self, state: State, ledger: Ledger, anchors: list[int]) -> None:
        self._state, self._ledger = state, ledger
        self._anchors = {anchored(begin): begin for begin in anchors}
        self._sums: dict[int, dict[str, Sum]] = {}

    def until(self, slot: int) -> int:
        """The end of the last minute that is closed by the exchange's clock."""
        closed = int(self._state.clocks[self._state.exchange_of[slot], CLOCK]) - GRACE
        return closed - closed % time.MINUTE

    def sums(self, slot: int) -> dict[str, Sum]:
        """The sums of a slot, filled from the ledger the first time; an anchor still to come holds nothing."""
        found = self._sums.setdefault(slot, {})
        until = self.until(slot)
        for name, begin in {WEEK_NAME: time.floor(until, time.WEEK), **self._anchors}.items():
            if name not in found:
                made = found[name] = Sum(begin)
                for candle in self._cover(slot, begin, until):
                    made.add(candle, 1)
        return found

    def _cover(self, slot: int, begin: int, until: int) -> Iterator[Candle]:
        """Kept closed candles that together cover [begin, until), the longest that fit."""
        spans = self._state.spans
        lengths = [(n, length) for n, length in enumerate(spans.lengths) if n >= spans.minute][::-1]
        oldest = min((c.timestamp for n, _ in lengths for c in self._ledger.first(slot, n)), default=until)
        at = max(begin, oldest - oldest % DAY if begin % DAY == 0 else begin)
        while at < until:  # ends: every round moves on by a minute or more
            step = time.MINUTE
            for interval, length in lengths:
                if at % length == 0 and at + length <= until:
                    candle = self._ledger.get(slot, interval, at)
                    if candle is not None:
                        yield candle
                        step = length
                        break
            at += step

    def changed(self, slot: int, old: Candle | None, new: Candle) -> None:
        """A closed minute is new, or other than it was."""
        for made in self.sums(slot).values():
            if new.timestamp >= made.begin:
                if old is not None:
                    made.add(old, -1)
                made.add(new, 1)

    def closed(self, exchange: int, until: int) -> None:
        """Minutes up to ``until`` are closed: a new week begins empty."""
        begin = time.floor(until, time.WEEK)
        for slot, found in self._sums.items():
            week = found.get(WEEK_NAME)
            if self._state.exchange_of[slot] == exchange and week is not None and week.begin != begin:
                found[WEEK_NAME] = Sum(begin)
                self._state.dirty[slot] = 1

    def dump(self) -> list[Kept]:
        """All sums, for a snapshot."""
        return [
            Kept(
                slot, name, s.begin, str(s.rows.frame.row), str(s.rows.frame.step), s.rows.first,
                s.rows.buy.tobytes(), s.rows.sell.tobytes(),
                [str(n) for n in s.moments],
            )
            for slot, found in self._sums.items()
            for name, s in found.items()
        ]  # fmt: skip

    def load(self, kept: list[Kept]) -> None:
        """Put dumped sums back; those of anchors no longer wanted are dropped."""
        for each in kept:
            if each.name != WEEK_NAME and each.name not in self._anchors:
                continue
            made = Sum(each.begin)
            made.rows.frame, made.rows.first = Frame(int(each.row), int(each.step)), each.first
            made.rows.buy, made.rows.sell = _ints(each.buy), _ints(each.sell)
            made.moments = Moments(*map(int, each.moments))
            self._sums.setdefault(each.slot, {})[each.name] = made


def _ints(data: bytes) -> Ints:
    return np.frombuffer(data, np.int64).copy()
