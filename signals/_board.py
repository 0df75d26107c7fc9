"""What goes to Redis: gathers what changed, renders it, and writes all of it again when Redis lost it."""

from __future__ import annotations

import numpy as np

from schemas.names import key
from signals import cvd, footprint, profile, vwap
from signals._core import Core
from signals._ledger import Series
from signals._redis import Member, Value, Watermark, Writer
from signals.footprint import Footprints
from signals.profile import Profiles
from signals.vwap import Vwaps

DETECTIONS = "detections"
SIGNALS = (footprint.NAME, profile.NAME, cvd.NAME, vwap.NAME, DETECTIONS)
LIVE_MS = 3_000
FRESH_US = 3_000_000
PROFILE_EVERY_S = 1.0
"""Profiles are the largest values and the slowest to change: written at most so often."""
REWRITE_BYTES = 4_000_000
"""Closed candles written again in one flush, so that open ones never wait long."""


class Board:
    """Redis's view of the engine. ``names`` are the signals to write."""

    def __init__(self, core: Core, writer: Writer, names: tuple[str, ...]) -> None:
        state, ledger = core.state, core.ledger
        self._state, self._ledger, self._rolling, self._decoder = state, ledger, core.rolling, core.decoder
        self._writer = writer
        self.names = names
        self.footprints = Footprints(state, core.options)
        self._profiles = Profiles(state, ledger, self._rolling, core.since, core.options)
        self._watch = core.watch
        self._vwaps = Vwaps(state, ledger, core.since)
        self._profiled_at = 0.0
        self._written: Watermark | None = None
        self._again: dict[Series, None] = {}
        self.wait_for: Watermark | None = None
        """Redis is further than the state yet: nothing is written before this sequence."""
        self.flushes = self.written = self.rewrites = 0

    def everything(self) -> None:
        """Write every key again."""
        self._state.dirty[: len(self._state.symbols)] = 1
        self._rolling.dirty.update(range(len(self._state.symbols)))
        self._watch.everything()
        self._ledger.changed.clear()
        self._again = dict.fromkeys(self._ledger.newest)

    async def flush(self, watermark: Watermark, now: float, *, last: bool = False) -> bool:
        """Write what changed; ``now`` in seconds. False while Redis is away (what changed stays marked)."""
        if not last and self.wait_for and self.wait_for.created == watermark.created:
            if watermark.sequence < self.wait_for.sequence:
                return True
            self.wait_for = None
        held = await self._writer.watermark()
        if held is None:
            return False
        if held != self._written:
            self.rewrites += 1
            self.everything()
            self._profiled_at = 0.0
        values, emptied, members = self.gather(now, last=last)
        if not values and not members and held == watermark:
            return True
        if not await self._writer.write(values, members, watermark, emptied):
            self._written = None
            return False
        self._written = watermark
        self.flushes += 1
        self.written += len(values) + len(members)
        return True

    def gather(self, now: float, *, last: bool = False) -> tuple[list[Value], list[bytes], list[Member]]:
        """What changed since the last call: values, sets to empty first, and members of sets."""
        values = self._values(now, last)
        emptied, members = self._members()
        return values, emptied, members

    def _values(self, now: float, last: bool) -> list[Value]:
        state = self._state
        slots = np.flatnonzero(state.dirty[: len(state.symbols)]).tolist()
        state.dirty[:] = 0
        slots = [slot for slot in slots if state.grid_day[slot].max() >= 0]
        self._rolling.dirty.update(slots)
        values, spans = self.footprints.open(slots)
        if footprint.NAME in self.names:
            values += self._ended(slots, {value.key for value in values})
        else:
            values = []
        if cvd.NAME in self.names:
            found = (cvd.value(state, self._ledger, slot, spans[n]) for n, slot in enumerate(slots))
            values += [value for value in found if value is not None]
        if DETECTIONS in self.names:
            values += self._watch.values()
        if vwap.NAME in self.names:
            for slot in slots:
                values += self._vwaps.values(slot)
        if profile.NAME in self.names and (last or now - self._profiled_at >= PROFILE_EVERY_S):
            self._profiled_at = now
            for slot in sorted(self._rolling.dirty):
                if state.grid_day[slot].max() >= 0:
                    values += self._profiles.values(slot)
            self._rolling.dirty.clear()
        return values

    def _ended(self, slots: list[int], rendered: set[bytes]) -> list[Value]:
        """Where no candle is open, the last closed one is shown."""
        values = []
        for slot in slots:
            for interval, shown in enumerate(self._state.spans.shown):
                name = self.footprints.key_of(slot, interval)
                newest = self._ledger.newest.get((slot, interval))
                if shown and newest is not None and name not in rendered:
                    text = self.footprints.closed(slot, interval, newest)
                    values.append(Value(name, text, self.footprints.member(slot, interval, newest).sequence))
        return values

    def _members(self) -> tuple[list[bytes], list[Member]]:
        """Closed candles that changed, and a share of those to be written again with the sets to empty first."""
        emptied: list[bytes] = []
        members: list[Member] = []
        changed, self._ledger.changed = self._ledger.changed, {}
        if footprint.NAME not in self.names:
            return emptied, members
        for series, times in changed.items():
            if series not in self._again:
                found = (self._ledger.get(*series, at) for at in sorted(times)[-self._ledger.kept :])
                members += [self.footprints.member(*series, candle) for candle in found if candle is not None]
        size = 0
        while self._again and size < REWRITE_BYTES:
            series = next(iter(self._again))
            del self._again[series]
            if not self._state.spans.shown[series[1]]:
                continue
            whole = [self.footprints.member(*series, candle) for candle in self._ledger.shown(series).values()]
            emptied.append(self.footprints.closed_key_of(*series))
            members += whole
            size += sum(len(member.text) for member in whole)
        return emptied, members

    @property
    def behind(self) -> int:
        """Series still to be written again."""
        return len(self._again)

    async def live(self, wall: int) -> None:
        """Renew ``live:<x>`` of exchanges heard of within three seconds of ``wall`` (µs)."""
        state, values = self._state, []
        for slot, (timestamp, received, sequence) in self._decoder.last.items():
            exchange = int(state.exchange_of[slot])
            if wall - self._decoder.received.get(exchange, 0) > FRESH_US:
                continue
            text = (
                f'{{"last_trade":{timestamp},"last_received":{received},"gaps_open":{state.gaps.unsettled(state.symbols[slot])},'
                f'"as_of":{int(state.clocks[exchange, 0])},"sequence":{sequence}}}'
            )
            values.append((key("live", *state.symbols[slot]).encode(), text.encode()))
        await self._writer.alive(values, LIVE_MS)
