"""``liquidations:<x>:<range>``: what was forcibly closed, by time, price and side; cascades as they happen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas import time
from schemas.events import Liquidation
from schemas.settings import Settings
from signals._cascade import Cascades
from signals._heat import heat_map
from signals._held import Held
from signals._pools import Pools
from signals._redis import Member, Value
from signals._series import Series, Source, events, first_wins, value
from signals._tables import Tables

RANGES = {
    "session": (time.DAY, 5 * time.MINUTE),
    "rolling-4h": (4 * time.HOUR, time.MINUTE),
    "rolling-24h": (time.DAY, 5 * time.MINUTE),
}
"""Length and time slot of each range, µs."""
COUNT_MAX = 20_000
"""Orders held of a symbol: those of the last day, the newest first."""


class Liquidations(Series):
    """The last day's forced orders of each symbol, and of the sums over exchanges."""

    name = "liquidations"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._orders: dict[tuple[str, str], Held[Liquidation]] = {}
        self._pools = Pools(settings.signals.stable)
        self._cascades = Cascades(settings.signals.cascade)

    def sources(self) -> tuple[Source, ...]:
        return (events("liquidation"),)

    def take(self, _word: str, event: Any, sequence: int) -> None:
        if not (event.price > 0 and event.quantity > 0 and event.value >= 0):
            return
        who = event.exchange, event.symbol
        held = self._orders.setdefault(who, Held(time.DAY, COUNT_MAX))
        is_new = sequence > 0 and not held.heard(event.timestamp, event.liquidation_id)
        if held.put(event.timestamp, event.liquidation_id, first_wins(event), event, sequence):
            self._pools.add(who)
            self.dirty.update((who, *self._pools.of(who)))
            if is_new:
                recent = held.since(event.timestamp - self._cascades.window)
                self.letters += self._cascades.step(event, recent, sequence)

    def known(self) -> Iterable[tuple[str, ...]]:
        return {*self._orders, *(pool for who in self._orders for pool in self._pools.of(who))}

    async def history(self, tables: Tables, now: int) -> None:
        for row in reversed(await tables.fetch("signal_liquidations", now - time.DAY)):
            exchange, symbol, stamp, received, number, side, price, quantity, worth, coverage = row
            order = Liquidation(exchange, symbol, stamp, received, number, side, price, quantity, worth, coverage)
            self.take("liquidation", order, 0)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        members = self._pools.members(who)
        held = [self._orders[one] for one in members or ((who[0], who[1]),)]
        newest = max(its.newest for its in held)
        sequence = max(its.sequence for its in held)
        values = []
        for name, (length, slot) in RANGES.items():
            begin = newest - newest % time.DAY if name == "session" else newest - newest % slot + slot - length
            orders = [order for its in held for order in its.since(begin)]
            body = {"range": name, **heat_map(orders, begin, begin + length, slot)}
            if members:
                body["members"] = [":".join(one) for one in members]
            values.append(value(self.name, (*who, name), body, sequence, newest))
        return values, []


SERIES = Liquidations
