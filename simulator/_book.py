"""Order books around the last trade: a pure function of instrument and time, so that REST and streams agree."""

from __future__ import annotations

from simulator._candles import last_trade
from simulator._noise import key, scatter_one
from simulator._tape import Tape

SLOT_MS = 100
"""Books move every 100 ms."""
_LEVELS_KEPT = 20_000
_SIZES = tuple(round(1.045**step * 40.0) for step in range(256))
"""Dollars resting at a level: 40 to three million, most of it in a few levels."""

Levels = list[tuple[int, int]]
"""Price in ticks and quantity in steps, best first."""


class Book:
    """The resting orders of one tape."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._key = key(tape.market.seed, "book", tape.listing.exchange, tape.listing.symbol)
        listing = tape.listing
        self._spacing = max(1, round(listing.coin.price / listing.tick_size) // 200_000)
        self._step_dollars = listing.step_dollars
        self._known: dict[int, tuple[int, int, int, int]] = {}

    def at(self, time_ms: int, depth: int) -> tuple[Levels, Levels]:
        """Bids and asks at the last slot at or before ``time_ms``, ``depth`` levels each (fewer near zero)."""
        slot = time_ms // SLOT_MS
        bid, ask = self.best(slot * SLOT_MS)
        return self._side(slot, bid, -1, depth), self._side(slot, ask, 1, depth)

    def best(self, time_ms: int) -> tuple[int, int]:
        """Best bid and ask in ticks: the last trade took one of them, the other is a tick away."""
        _, ticks, _, maker = last_trade(self._tape, time_ms)
        bid = ticks if maker or ticks == 1 else ticks - 1
        return bid, bid + 1

    def quantity(self, ticks: int, slot: int) -> int:
        """Steps resting at a price; changes now and then, at each price in its own rhythm."""
        known = self._known.get(ticks)
        if known is not None and known[0] <= slot < known[1]:
            return known[2]
        bits = known[3] if known is not None else scatter_one(self._key, ticks)
        period, phase = 3 + (bits & 63), bits >> 6 & 63
        epoch = (slot + phase) // period
        chosen = scatter_one(bits, epoch) & 255
        steps = max(1, round(_SIZES[chosen] / self._step_dollars))
        if len(self._known) >= _LEVELS_KEPT:
            self._known.clear()
        self._known[ticks] = (epoch * period - phase, (epoch + 1) * period - phase, steps, bits)
        return steps

    def _side(self, slot: int, best: int, direction: int, depth: int) -> Levels:
        """The best price, and behind it one price in each cell of a fixed grid, so that levels outlive moves."""
        levels = [(best, self.quantity(best, slot))]
        spacing, first, known = self._spacing, best // self._spacing + direction, self._known
        for cell in range(first, first + direction * (depth - 1), direction):
            ticks = cell * spacing + (cell * 0x9E3779B1 >> 7) % spacing
            if ticks < 1:
                break
            level = known.get(ticks)
            fresh = level is not None and level[0] <= slot < level[1]
            levels.append((ticks, level[2] if level is not None and fresh else self.quantity(ticks, slot)))
        return levels


def update_id(time_ms: int) -> int:
    """The id of the last book update at a time: ten for every millisecond."""
    return time_ms * 10 + 9


def changes(before: Levels, after: Levels) -> Levels:
    """What a diff stream says: new quantities by price, 0 for a level that is gone."""
    old = dict(before)
    gone = [(ticks, 0) for ticks in old.keys() - dict(after).keys()]
    return sorted(gone + [level for level in after if old.get(level[0]) != level[1]])
