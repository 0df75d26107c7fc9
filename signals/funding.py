"""``funding:<x>``: the rate, over eight hours and a year, how unusual it is; sums weigh venues by open interest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from schemas import time
from schemas.events import Funding, OpenInterest
from schemas.settings import Settings
from signals._held import Held
from signals._pools import Pools
from signals._redis import Member, Value
from signals._series import Series, Source, events, first_wins, value
from signals._tables import Tables

HOURS_A_YEAR = 8_760
PERIODS = 90
"""Funding periods kept, and looked at for ``z_score``."""
_HORIZON = 100 * time.DAY
_LEAST = 10
"""Periods before there is a ``z_score``."""


class Fundings(Series):
    """The last rate of each period; a period is named by its end."""

    name = "funding"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._periods: dict[tuple[str, str], Held[Funding]] = {}
        self._interest: dict[tuple[str, str], Held[OpenInterest]] = {}
        self._pools = Pools(settings.signals.stable)

    def sources(self) -> tuple[Source, ...]:
        return events("funding"), events("open_interest")

    def take(self, word: str, event: Any, sequence: int) -> None:
        who = event.exchange, event.symbol
        if word == "open_interest":
            held = self._interest.setdefault(who, Held(time.DAY, 1))
            changed = held.put(event.timestamp, 0, first_wins(event), event, sequence) and who in self._periods
        else:
            period = _period(event)
            held_rates = self._periods.setdefault(who, Held(_HORIZON, PERIODS))
            changed = held_rates.put(period, 0, (event.timestamp, *first_wins(event)), event, sequence)
            self._pools.add(who)
        if changed:
            if word == "funding":
                self.dirty.add(who)
            self.dirty.update(self._pools.of(who))

    def known(self) -> Iterable[tuple[str, ...]]:
        return {*self._periods, *(pool for who in self._periods for pool in self._pools.of(who))}

    async def history(self, tables: Tables, now: int) -> None:
        begin = now - PERIODS * 8 * time.HOUR
        for exchange, symbol, stamp, rate, hours, following in await tables.fetch("signal_funding", begin):
            self.take("funding", Funding(exchange, symbol, stamp, stamp, rate, hours, following), 0)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        members = self._pools.members(who)
        body = self._pooled(members) if members else self._single((who[0], who[1]))
        held = [self._periods[one] for one in members or ((who[0], who[1]),) if one in self._periods]
        as_of = max(its.last.timestamp for its in held)
        return [value(self.name, who, body, max(its.sequence for its in held), as_of)], []

    def _single(self, who: tuple[str, str]) -> dict[str, Any]:
        held = self._periods[who]
        periods, last = list(held), held.last
        hours = last.interval_hours or inferred_hours([period.next_funding for period in periods])
        return {
            **equivalents(last.funding_rate, hours),
            "next_funding": last.next_funding,
            "mark_price": last.mark_price,
            "index_price": last.index_price,
            "z_score": z_score([period.funding_rate for period in periods]),
            "flips": flips([period.funding_rate for period in periods]),
            "periods": len(periods),
            "timestamp": last.timestamp,
        }

    def _pooled(self, members: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Eight-hour rates weighted by open interest; a venue whose interest or interval is not known has no say."""
        told, sums, weights = [], [], []
        for who in members:
            single = self._single(who)
            interest = self._interest.get(who)
            weight = interest.last.open_interest if interest else 0.0
            told.append({"member": ":".join(who), "rate_8h": single["rate_8h"], "open_interest": weight or None})
            if single["rate_8h"] is not None and weight > 0:
                sums.append(single["rate_8h"] * weight)
                weights.append(weight)
        rate = math.fsum(sums) / math.fsum(weights) if weights else None
        yearly = None if rate is None else rate * HOURS_A_YEAR / 8
        return {"rate_8h": rate, "apr": yearly, "weighted_by": "open_interest", "members": told}


def _period(event: Funding) -> int:
    """The end of the period; of eight hours where the exchange names none that can be."""
    end = event.next_funding or 0
    if event.timestamp <= end <= event.timestamp + 2 * time.DAY:
        return end
    return time.floor(event.timestamp, 8 * time.HOUR) + 8 * time.HOUR


def equivalents(rate: float, hours: float | None) -> dict[str, float | None]:
    """The rate, what it is over eight hours and over a year; null where the interval is not known."""
    if not hours:
        return {"rate": rate, "interval_hours": None, "rate_8h": None, "apr": None}
    return {"rate": rate, "interval_hours": hours, "rate_8h": rate * 8 / hours, "apr": rate * HOURS_A_YEAR / hours}


def inferred_hours(ends: Sequence[int | None]) -> float | None:
    """The interval between the last two periods, where the exchange names none."""
    known = [end for end in ends if end]
    return (known[-1] - known[-2]) / time.HOUR if len(known) > 1 else None


def z_score(rates: Sequence[float]) -> float | None:
    """How many standard deviations (of the population) the last rate is from the mean of all of them."""
    if len(rates) < _LEAST:
        return None
    mean = math.fsum(rates) / len(rates)
    deviation = math.sqrt(math.fsum((rate - mean) ** 2 for rate in rates) / len(rates))
    return (rates[-1] - mean) / deviation if deviation > 0 else 0.0


def flips(rates: Sequence[float]) -> int:
    """How often the sign has changed from one period to the next; 0 has none."""
    signs = [rate > 0 for rate in rates if rate]
    return sum(a != b for a, b in pairwise(signs))


SERIES = Fundings
