"""The closed candles: those of the last minute in memory, the rest in the archive; and which of them changed."""

from __future__ import annotations

from typing import Protocol

from signals._archive import Archive
from signals._candle import Candle
from signals._layout import INCOMPLETE
from signals._state import State

Series = tuple[int, int]
"""(slot, interval index)."""


class Minutes(Protocol):
    """Told about one-minute candles."""

    def changed(self, slot: int, old: Candle | None, new: Candle) -> None:
        """A closed minute is new, or other than it was."""

    def closed(self, exchange: int, until: int) -> None:
        """Every minute of the exchange that ends at ``until`` or before is closed."""


class Ledger:
    """Closed candles by slot, interval and open time. A candle got from here may be changed only through ``put``."""

    def __init__(self, state: State, archive: Archive, kept: int) -> None:
        self._state = state
        self._archive = archive
        self.kept = kept
        """How many of a series are shown."""
        self._fresh: dict[Series, dict[int, Candle]] = {}
        self.newest: dict[Series, Candle] = {}
        self.changed: dict[Series, set[int]] = {}
        """Open times to write to Redis."""
        self.outgoing: list[tuple[int, int, Candle]] = []
        """What to publish, in order."""
        self.minutes: list[Minutes] = []

    def name(self, series: Series) -> str:
        """``binance:BTC-USDT:1m``."""
        exchange, symbol = self._state.symbols[series[0]]
        return f"{exchange}:{symbol}:{self._state.spans.names[series[1]]}"

    def put(self, slot: int, interval: int, candle: Candle, *, publish: bool) -> None:
        """Keep a candle that closed or changed; ``publish`` where its own content changed."""
        series, timestamp = (slot, interval), candle.timestamp
        missing = self._missing(slot, interval, timestamp)
        if missing is not None:
            candle.meta[INCOMPLETE] = missing
        if self.minutes and interval == self._state.spans.minute and publish:
            old = self.get(slot, interval, timestamp)
            for minutes in self.minutes:
                minutes.changed(slot, old, candle)
        self._fresh.setdefault(series, {})[timestamp] = candle
        newest = self.newest.get(series)
        if newest is None or newest.timestamp <= timestamp:
            self.newest[series] = candle
        if self._state.spans.shown[interval]:
            changed = self.changed.setdefault(series, set())
            changed.add(timestamp)
            if len(changed) > 4 * self.kept:
                self.changed[series] = set(sorted(changed)[-self.kept :])
        if publish:
            self.outgoing.append((slot, interval, candle))

    def recheck(self, slot: int, begin: int, end: int) -> None:
        """Gaps changed in [begin, end] µs: put every candle that is complete now and was not, or the other way."""
        for interval, length in enumerate(self._state.spans.lengths):
            for candle in self.between(slot, interval, begin - begin % length, end + 1):
                missing = bool(self._missing(slot, interval, candle.timestamp))
                if missing != bool(candle.meta[INCOMPLETE]):
                    candle.meta[INCOMPLETE] = missing
                    self.put(slot, interval, candle, publish=True)

    def _missing(self, slot: int, interval: int, timestamp: int) -> bool | None:
        """Whether gaps say that trades of a candle are missing; None where they say nothing."""
        end = timestamp + self._state.spans.lengths[interval]
        return self._state.gaps.told(self._state.symbols[slot], timestamp, end)

    def get(self, slot: int, interval: int, timestamp: int) -> Candle | None:
        """The kept candle that opened at ``timestamp``."""
        series = (slot, interval)
        fresh = self._fresh.get(series, {}).get(timestamp)
        return fresh or self._archive.get(self.name(series), timestamp)

    def between(self, slot: int, interval: int, begin: int, end: int) -> list[Candle]:
        """Kept candles that opened in [begin, end), ascending."""
        series = (slot, interval)
        found = self._archive.between(self.name(series), begin, end)
        found |= {at: candle for at, candle in self._fresh.get(series, {}).items() if begin <= at < end}
        return [found[at] for at in sorted(found)]

    def before(self, slot: int, interval: int, timestamp: int) -> Candle | None:
        """The last kept candle that opened before ``timestamp``."""
        series = (slot, interval)
        fresh = max((at for at in self._fresh.get(series, {}) if at < timestamp), default=None)
        kept = self._archive.before(self.name(series), timestamp)
        if fresh is None or (kept is not None and kept.timestamp > fresh):
            return kept
        return self._fresh[series][fresh]

    def has(self, slot: int, interval: int, timestamp: int) -> bool:
        """Whether that candle is kept."""
        return self.get(slot, interval, timestamp) is not None

    def first(self, slot: int, interval: int) -> list[Candle]:
        """The oldest kept candle of a series, if there is one."""
        series = (slot, interval)
        found = self._archive.oldest(self.name(series))
        fresh = self._fresh.get(series, {})
        if fresh:
            found[min(fresh)] = fresh[min(fresh)]
        return [found[min(found)]] if found else []

    def is_pruned(self, slot: int, interval: int, timestamp: int) -> bool:
        """Whether a candle that opened then would be older than what is kept of a full series."""
        shown = self.shown((slot, interval))
        return len(shown) >= self.kept and timestamp < min(shown)

    def shown(self, series: Series) -> dict[int, Candle]:
        """The newest ``kept`` candles of a series by open time."""
        found = self._archive.latest(self.name(series), self.kept) | self._fresh.get(series, {})
        return {at: found[at] for at in sorted(found)[-self.kept :]}

    def fresh(self) -> list[tuple[str, Candle]]:
        """What the archive does not hold yet, by series name."""
        return [(self.name(series), candle) for series, fresh in self._fresh.items() for candle in fresh.values()]

    def fresh_count(self) -> int:
        """How many candles wait for the archive."""
        return sum(map(len, self._fresh.values()))

    def archived(self) -> None:
        """The archive now holds everything."""
        self._fresh.clear()

    def recall(self) -> None:
        """Find the newest candle of each series in the archive, after a start."""
        for slot in range(len(self._state.symbols)):
            for interval in range(len(self._state.spans)):
                for candle in self._archive.latest(self.name((slot, interval)), 1).values():
                    self.newest[slot, interval] = candle
