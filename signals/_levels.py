"""Zones and levels that stand until price closes them: stacks, unfinished auctions, naked points of control."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

STACK, UNFINISHED, NAKED = "stack", "unfinished", "naked_poc"
KEPT = 100
"""Zones of a symbol; beyond it the oldest is dropped, counted."""


class Zone(msgspec.Struct, gc=False):
    """In 1e-18 quote units: ``low`` to ``top`` is its range of price, ``high`` the lower edge of its last row."""

    kind: str
    interval: str
    side: str
    begin: int
    low: int
    high: int
    top: int
    size: int
    count: int
    until: int
    """When it closes by itself; 0 never."""


class Zones:
    """Of one symbol, oldest first."""

    def __init__(self, kept: list[Zone], closes: str, naked: int) -> None:
        self.zones = kept
        self._by_touch = closes == "touch"
        self._naked = naked
        self.dropped = 0

    def open(self, zone: Zone) -> None:
        """One more."""
        self.zones.append(zone)
        if zone.kind == NAKED:
            naked = [z for z in self.zones if z.kind == NAKED]
            if len(naked) > self._naked:
                self.zones.remove(naked[0])
        elif len(self.zones) > KEPT:
            self.zones.pop(next(n for n, z in enumerate(self.zones) if z.kind != NAKED))
            self.dropped += 1

    def close(self, low: int, high: int, now: int) -> Iterator[Zone]:
        """Those that a later candle from ``low`` to ``high`` closes, and those whose time is over; they are removed."""
        gone = [zone for zone in self.zones if (zone.until and now >= zone.until) or self._meets(zone, low, high)]
        if gone:
            self.zones[:] = [zone for zone in self.zones if zone not in gone]
        yield from gone

    def _meets(self, zone: Zone, low: int, high: int) -> bool:
        if zone.kind != STACK:
            return low < zone.top and high >= zone.low
        if zone.side == "buy":  # support below the price
            return low < zone.top if self._by_touch else low < zone.low
        return high >= zone.low if self._by_touch else high >= zone.top
