"""``open_interest:<x>``: the latest, its change, the four quadrants, and the prices at which it changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from schemas import time
from schemas.events import OpenInterest
from schemas.settings import ConfigError, Settings
from signals._held import Held
from signals._interest import Minute, bars, interest_profile, minute
from signals._pools import Pools
from signals._redis import Member, Value
from signals._series import Series, Source, events, first_wins, footprints, value
from signals._tables import Tables

WINDOW = 4 * time.HOUR
"""Of bars and profile."""
_DAY = 25 * time.HOUR
_STALE = 5 * time.MINUTE


class Interests(Series):
    """The last sample of each bar of a day, and the closed minutes of four hours."""

    name = "open_interest"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._length = int(settings.signals.open_interest)
        if self._length % time.MINUTE or not 0 < self._length <= time.HOUR or time.HOUR % self._length:
            raise ConfigError("settings", "signals.open_interest", "must be whole minutes that divide an hour")
        self._samples: dict[tuple[str, str], Held[OpenInterest]] = {}
        self._minutes: dict[tuple[str, str], Held[Minute]] = {}
        self._pools = Pools(settings.signals.stable)

    def sources(self) -> tuple[Source, ...]:
        return events("open_interest"), footprints(["1m"], WINDOW + time.HOUR)

    def take(self, word: str, event: Any, sequence: int) -> None:
        who = event.exchange, event.symbol
        if word == "footprint":
            held_minutes = self._minutes.setdefault(who, Held(WINDOW, WINDOW // time.MINUTE))
            rank = (event.revision, event.gaps_as_of)
            if held_minutes.put(event.timestamp, 0, rank, minute(event), sequence) and who in self._samples:
                self.dirty.add(who)
            return
        held = self._samples.setdefault(who, Held(_DAY, _DAY // self._length))
        slot = event.timestamp - event.timestamp % self._length
        if held.put(slot, 0, (event.timestamp, *first_wins(event)), event, sequence):
            self._pools.add(who)
            self.dirty.update((who, *self._pools.of(who)))

    def known(self) -> Iterable[tuple[str, ...]]:
        return {*self._samples, *(pool for who in self._samples for pool in self._pools.of(who))}

    async def history(self, tables: Tables, now: int) -> None:
        for exchange, symbol, stamp, interest, worth in await tables.fetch("signal_open_interest", now - _DAY):
            self.take("open_interest", OpenInterest(exchange, symbol, stamp, stamp, interest, worth), 0)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        members = self._pools.members(who)
        body = self._pooled(members) if members else self._single((who[0], who[1]))
        held = [self._samples[one] for one in members or ((who[0], who[1]),)]
        as_of = max(its.last.timestamp for its in held)
        return [value(self.name, who, body, max(its.sequence for its in held), as_of)], []

    def _single(self, who: tuple[str, str]) -> dict[str, Any]:
        held = self._samples[who]
        last = held.last
        minutes = list(self._minutes.get(who, ()))
        found = bars(held, minutes, self._length)
        shown = [bar for bar in found if bar.timestamp > found[-1].timestamp - WINDOW]
        return {
            "open_interest": last.open_interest,
            "value": last.value,
            "timestamp": last.timestamp,
            "interval": f"{self._length // time.MINUTE}m",
            **{name: getattr(found[-1], name) for name in ("delta", "quadrant", "quadrant_volume")},
            "delta_24h": self._since(held, last.timestamp - time.DAY),
            "bars": [bar._asdict() for bar in shown],
            "profile": interest_profile(shown, minutes, self._length),
        }

    def _since(self, held: Held[OpenInterest], begin: int) -> float | None:
        """The change since ``begin``, where something that old is known."""
        before = [sample for sample in held if sample.timestamp <= begin]
        return held.last.open_interest - before[-1].open_interest if before else None

    def _pooled(self, members: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Base units add up; a member not heard of for five minutes is named as stale and still counted."""
        newest = max(self._samples[who].last.timestamp for who in members)
        found = {who: bars(self._samples[who], (), self._length)[-1] for who in members}
        deltas = [bar.delta for bar in found.values() if bar.delta is not None]
        return {
            "open_interest": math.fsum(bar.open_interest for bar in found.values()),
            "delta": math.fsum(deltas) if deltas else None,
            "timestamp": newest,
            "interval": f"{self._length // time.MINUTE}m",
            "members": [":".join(who) for who in members],
            "stale": [":".join(who) for who in members if newest - self._samples[who].last.timestamp > _STALE],
        }


SERIES = Interests
