"""Memory that outlives a connection: which symbols there are, and what was last heard of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from schemas.instruments import Instrument
from schemas.symbols import SymbolError, from_ccxt, is_symbol

FEEDS_MAX = 20_000
HOLES_MAX = 1_000
RESET_MIN = 1_000_000
"""An id this far below the expected one is a new numbering, not a late trade."""


class Hole(NamedTuple):
    """Ids ``first`` to ``last`` that did not come: timestamps either side, when it was noticed, and why.

    Where ids say nothing both are -1: trades between ``before`` and ``after`` may be missing.
    """

    first: int
    last: int
    before: int
    after: int
    noticed: int
    cause: str


class Mark(NamedTuple):
    """How far a feed is complete: every id of this ``epoch`` up to ``number`` came, or was told of as a gap.

    Where ids say nothing ``number`` is -1, and ``timestamp`` says how far.
    """

    number: int
    timestamp: int
    epoch: int


class UnknownSymbol(ValueError):
    """A symbol neither the exchange's list nor its naming rule explains."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown symbol {name!r}")
        self.name = name


class Directory:
    """Symbols both ways: the exchange's list when there is one, else the naming rule."""

    def __init__(
        self,
        exchange: str,
        named: Callable[[str], Instrument | None],
        spelled: Callable[[str], str | None],
    ) -> None:
        self.exchange = exchange
        self.instruments: dict[str, Instrument] = {}
        """By canonical symbol."""
        self.hours: dict[str, float] = {}
        """Funding interval by exchange symbol, where it is known."""
        self.marks: dict[str, float] = {}
        """Mark price by exchange symbol, where a channel needs it to tell coins from contracts."""
        self.complete = False
        """Whether the exchange itself has answered: only then may a symbol be called unknown."""
        self._named, self._spelled = named, spelled
        self._natives: dict[str, Instrument] = {}
        self._missed: set[str] = set()
        """Symbols the last whole list lacked."""

    def learn(self, instruments: Iterable[Instrument]) -> None:
        """Take in instruments; a later one of the same symbol replaces the earlier."""
        for instrument in instruments:
            self.instruments[instrument.symbol] = instrument
            self._natives[instrument.exchange_symbol] = instrument

    def replace(self, instruments: Iterable[Instrument]) -> list[Instrument]:
        """Take in the exchange's whole list; returns what is gone: what it lacked twice in a row."""
        before = set(self.instruments)
        fresh = list(instruments)
        self.learn(fresh)
        self.complete = True
        missed = before - {instrument.symbol for instrument in fresh}
        gone = [self.instruments.pop(symbol) for symbol in sorted(missed & self._missed)]
        self._missed = missed - {instrument.symbol for instrument in gone}
        for instrument in gone:
            self._natives.pop(instrument.exchange_symbol, None)
        return gone

    def of(self, native: str) -> Instrument:
        """The instrument of an exchange symbol. Raises UnknownSymbol."""
        found = self._natives.get(native) or self._by_rule(native)
        if found is None or not is_symbol(found.symbol):
            raise UnknownSymbol(native)
        return found

    def native(self, name: str) -> str | None:
        """The exchange's spelling of a canonical, ccxt or own name; None where a complete list lacks it."""
        for candidate in self._canonical(name):
            if candidate in self.instruments:
                return self.instruments[candidate].exchange_symbol
        if name in self._natives:
            return name
        if self.complete:
            return None
        for candidate in self._canonical(name):
            if spelled := self._spelled(candidate):
                return spelled
        return name if self._by_rule(name) is not None else None

    def _by_rule(self, native: str) -> Instrument | None:
        try:
            return self._named(native)
        except SymbolError:
            return None

    @staticmethod
    def _canonical(name: str) -> list[str]:
        if "/" not in name:
            return [name]
        try:
            return [from_ccxt(name)]
        except SymbolError:
            return []


class Feed:
    """One (channel, symbol): how many frames came, the id expected next, the slot last filled."""

    __slots__ = ("breaks", "channel", "content", "doubt", "epoch", "expected", "first", "frames", "holes", "instrument",
                 "interrupted", "native", "repeats", "resets", "seen", "slot", "symbol")  # fmt: skip

    def __init__(self, channel: str, native: str, instrument: Instrument) -> None:
        self.channel, self.native, self.symbol = channel, native, instrument.symbol
        self.instrument = instrument
        self.frames = 0
        self.expected = -1
        """The next id where ids are dense; -1 before the first."""
        self.seen = 0
        """Timestamp of the highest id, µs."""
        self.slot = 0
        """Start of the last slot an event was made for, µs."""
        self.content: object = None
        """What a session wants to remember of this symbol beyond its connection."""
        self.holes: deque[Hole] = deque()
        """Ids not seen and not told of, at most ``HOLES_MAX``."""
        self.first: tuple[int, int] | None = None
        """The first id heard, and its timestamp; None before it, and where an earlier life is continued."""
        self.epoch = 0
        """Numberings before this one."""
        self.interrupted = (-1, "")
        """The id that was expected when listening was interrupted, and by what."""
        self.doubt = ""
        """Where ids say nothing: what interrupted listening since the last trade, empty where nothing did."""
        self.repeats = self.resets = 0
        self.breaks = 0
        """Times its book lost the chain and had to be asked for anew."""

    def step(self, number: int, timestamp: int, received: int) -> None:
        """Follow a dense id. Late ids close their part of a hole again: reordering is not a gap."""
        if number > self.expected:
            if self.expected >= 0:
                self._missed(number - 1, timestamp, received)
            else:
                self.first = (number, timestamp)
        elif number < self.expected:
            if self.expected - number > RESET_MIN:
                self.resets += 1
                self.epoch += 1
            else:
                self._late(number)
                return
        self.expected = number + 1
        self.seen = timestamp

    def exists(self, number: int, timestamp: int, received: int) -> bool:
        """Follow an id the exchange only speaks of; whether it, or one before it, has not been seen."""
        if not 0 <= self.expected <= number:
            return False
        self._missed(number, timestamp, received)
        self.expected, self.seen = number + 1, timestamp
        return True

    def follow(self, timestamp: int, received: int) -> None:
        """Follow trades, oldest first, whose ids say nothing: after an interruption some may be missing.

        One that is older than the last one known proves that none is: what a subscription replays reaches back to it.
        """
        if self.doubt and timestamp != self.seen:
            if timestamp > self.seen:
                self._add(Hole(-1, -1, self.seen, timestamp, received, self.doubt))
            self.doubt = ""
        if self.first is None and not self.seen:
            self.first = (-1, timestamp)
        self.seen = max(self.seen, timestamp)

    def interrupt(self, cause: str) -> None:
        """Say why the next id may not be the expected one, or what comes next not what follows the last trade."""
        self.interrupted = (self.expected, cause)
        if self.expected < 0 and self.seen:
            self.doubt = self.doubt or cause

    def resume(self, mark: Mark, now: int) -> None:
        """Continue an earlier life: what came between is missed at the next id, or now if one has come already."""
        self.epoch += mark.epoch
        if mark.number < 0:
            self._resume_time(mark, now)
        elif self.expected < 0:
            self.expected, self.seen = mark.number + 1, mark.timestamp
            self.interrupt("restart")
        elif self.first is not None:
            first, timestamp = self.first
            if first > mark.number + 1:
                self._add(Hole(mark.number + 1, first - 1, mark.timestamp, timestamp, now, "restart"))
            elif mark.number - first > RESET_MIN:
                self.epoch += 1

    def _resume_time(self, mark: Mark, now: int) -> None:
        if not self.seen:
            self.seen = mark.timestamp
            self.interrupt("restart")
        elif self.first is not None and self.first[1] > mark.timestamp:
            self._add(Hole(-1, -1, mark.timestamp, self.first[1], now, "restart"))

    def mark(self) -> Mark | None:
        """How far it is complete; None before the first trade."""
        if self.expected < 0:
            return Mark(-1, min([self.seen, *(hole.before for hole in self.holes)]), self.epoch) if self.seen else None
        holes = [hole for hole in self.holes if hole.first < self.expected]  # others are of an earlier numbering
        if holes:
            lowest = min(holes)
            return Mark(lowest.first - 1, lowest.before, self.epoch)
        return Mark(self.expected - 1, self.seen, self.epoch)

    def _missed(self, last: int, timestamp: int, received: int) -> None:
        cause = self.interrupted[1] if self.interrupted[0] == self.expected else "skipped"
        self._add(Hole(self.expected, last, self.seen, timestamp, received, cause))

    def _add(self, hole: Hole) -> None:
        if len(self.holes) >= HOLES_MAX:  # too many: the newest one takes in what lies between, so that none is lost
            newest = self.holes.pop()
            first, last = min(newest.first, hole.first), max(newest.last, hole.last)
            before, after = min(newest.before, hole.before), max(newest.after, hole.after)
            hole = newest._replace(first=first, last=last, before=before, after=after)
        self.holes.append(hole)

    def _late(self, number: int) -> None:
        for index, hole in enumerate(self.holes):
            if hole.first <= number <= hole.last:
                if hole.first < number < hole.last and len(self.holes) >= HOLES_MAX:
                    return  # no room for two halves: the whole stays missing, and is asked for
                del self.holes[index]
                if number < hole.last:
                    self.holes.insert(index, hole._replace(first=number + 1))
                if number > hole.first:
                    self.holes.insert(index, hole._replace(last=number - 1))
                return
        self.repeats += 1


class _Channel(dict[str, Feed]):
    """Feeds of a channel by exchange symbol, made at first sight."""

    def __init__(self, name: str, feeds: Feeds) -> None:
        super().__init__()
        self._name, self._feeds = name, feeds

    def __missing__(self, native: str) -> Feed:
        if len(self) >= FEEDS_MAX:
            raise UnknownSymbol(native)
        feed = Feed(self._name, native, self._feeds.directory.of(native))
        self[native] = feed
        return feed


class Feeds:
    """Every (channel, symbol) of an exchange, shared by its connections so that ids are followed across them."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._channels: dict[str, _Channel] = {}

    def channel(self, name: str) -> dict[str, Feed]:
        """Feeds of a channel by exchange symbol; looking one up makes it. Raises UnknownSymbol."""
        if name not in self._channels:
            self._channels[name] = _Channel(name, self)
        return self._channels[name]

    def refresh(self) -> None:
        """Take over what the directory has learned since, such as a contract's size."""
        for feed in self.all():
            feed.instrument = self.directory.instruments.get(feed.symbol, feed.instrument)

    def all(self) -> Iterable[Feed]:
        """Every feed there is."""
        for channel in self._channels.values():
            yield from channel.values()
