"""Watches for what the definitions name, in stream order: single trades as they come, candles as they close."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from schemas.detections import Detection, encode
from schemas.names import detections_key, key
from schemas.settings import SignalsSettings
from signals import _prints as prints
from signals._candle import Candle
from signals._examine import (
    ABSORBED_BUYS,
    ABSORBED_SELLS,
    CONTROL,
    EXHAUSTED_BUYS,
    EXHAUSTED_SELLS,
    HIGH_OPEN,
    LOW_OPEN,
    STACKS,
    examine,
)  # fmt: skip
from signals._layout import (
    CLOSE,
    CVD,
    DAY,
    DELTA,
    FIRST,
    HIGH,
    LOW,
    OPEN,
    ROW,
    SHIFT,
    TICK,
    Columns,
    Floats,
)  # fmt: skip
from signals._levels import NAKED, STACK, UNFINISHED, Zone, Zones
from signals._options import options
from signals._redis import Value
from signals._state import State
from signals._write import DECIMALS_MAX
from signals.divergence import Bar, Pivot, against_bar, pivot, reversal, swing

_UNIT = 10**DECIMALS_MAX
_SIDES = ("buy", "sell")
_KINDS = ("large_trade", "sweep", "absorption")
_ROWS = 256


@dataclass
class _Series:
    """What divergences need of the candles before."""

    bars: list[Bar] = field(default_factory=list)
    high: Pivot | None = None
    low: Pivot | None = None


class _Kept(msgspec.Struct):
    """Everything, for a snapshot: arrays as bytes, what may exceed 64 bits as JSON in ``more``."""

    ints: bytes
    floats: bytes
    sizes: bytes
    when: list[int]
    due: list[int]
    last: list[tuple[int, str, list[bytes]]]
    more: bytes


class Watch:
    """``outgoing`` holds what was seen and not yet published; ``last`` the newest of each slot and signal, as JSON."""

    def __init__(self, state: State, config: SignalsSettings) -> None:
        self._state, self._config = state, config
        self._options, self._rules = options(config), _rules(config)
        self._intervals = {n for n, name in enumerate(state.spans.names) if name in config.detect}
        self._ints = np.zeros((0, prints.INTS), np.int64)
        self._floats = np.zeros((0, prints.FLOATS))
        self._sizes = np.zeros((0, prints.BINS), np.int32)
        self._when, self._due = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._out, self._values = np.zeros((_ROWS, prints.OUT), np.int64), np.zeros(_ROWS)
        self._series: dict[tuple[int, int], _Series] = {}
        self.zones: dict[int, Zones] = {}
        self.outgoing: list[Detection] = []
        self.last: dict[int, dict[str, deque[bytes]]] = {}
        self.told: dict[tuple[int, str], tuple[int, int]] = {}
        """Sequence and event time of the last detection of a slot and signal; the empty name stands for its zones."""
        self.changed: set[tuple[int, str]] = set()
        """Which keys to write, likewise."""

    # --- single trades ---

    def trades(self, batch: Columns, start: int, end: int) -> None:
        """Look at events ``start`` to ``end`` of a batch."""
        state, at = self._state, start
        self._room()
        while True:  # every round moves on or settles what was due
            at, why, count = prints.watch(
                at, end, batch, self._when, self._due, state.grid_day, state.grid_scale, self._ints, self._floats,
                self._sizes, self._rules, self._out, self._values,
            )  # fmt: skip
            self._told(count)
            if why == prints.DONE:
                return
            if why == prints.FULL:
                continue
            x, sequence = int(batch.exchange[at]), int(batch.sequence[at])
            now = int(self._when[x])
            if why == prints.DUE:
                count = prints.settle(
                    x, now, sequence, state.exchange_of[: len(self._ints)], self._due, self._ints, self._floats,
                    self._rules, state.grid, self._out, self._values,
                )  # fmt: skip
            else:
                slot, day = int(batch.slot[at]), int(batch.timestamp[at]) // DAY
                count = prints.begin_day(
                    slot, day, now, sequence, state.grid, self._ints, self._floats, self._sizes, self._out, self._values
                )
            self._told(count)

    def _room(self) -> None:
        """As many rows as there are slots and exchanges."""
        state = self._state
        slots, exchanges = len(state.dirty), len(state.clocks)
        if len(self._ints) < slots:
            more = slots - len(self._ints)
            self._ints = np.concatenate([self._ints, np.zeros((more, prints.INTS), np.int64)])
            self._floats = np.concatenate([self._floats, np.zeros((more, prints.FLOATS))])
            self._sizes = np.concatenate([self._sizes, np.zeros((more, prints.BINS), np.int32)])
            self._out, self._values = np.zeros((5 * slots + _ROWS, prints.OUT), np.int64), np.zeros(5 * slots + _ROWS)
        if len(self._when) < exchanges:
            more = exchanges - len(self._when)
            self._when = np.concatenate([self._when, np.zeros(more, np.int64)])
            self._due = np.concatenate([self._due, np.full(more, prints.FOREVER)])

    def _told(self, count: int) -> None:
        """Turn rows the kernels wrote into detections."""
        for row, value in zip(self._out[:count].tolist(), self._values[:count].tolist(), strict=True):
            slot, kind = row[prints.SLOT], row[prints.KIND]
            grid = self._state.grid[slot, row[prints.GRID_DAY] & 1].tolist()
            tick, step = _units(grid)
            if kind == prints.ABSORPTION:
                value = value * step / _UNIT
            self._tell(
                slot, _KINDS[kind], "", row[prints.WHEN], _SIDES[row[prints.SIDE]], "seen",
                row[prints.TO] * tick, row[prints.LOWEST] * tick, row[prints.HIGHEST] * tick,
                row[prints.LOTS] * step, value, row[prints.PRINTS], row[prints.SHOWN], row[prints.NOW],
            )  # fmt: skip

    def _tell(
        self, slot: int, signal: str, interval: str, timestamp: int, side: str, event: str, price: int, low: int,
        high: int, size: int, value: float, count: int, sequence: int, as_of: int, begin: int = 0,
    ) -> None:  # fmt: skip
        exchange, symbol = self._state.symbols[slot]
        one = Detection(
            signal=signal, exchange=exchange, symbol=symbol, interval=interval, timestamp=timestamp, side=side,  # type: ignore[arg-type]  # from tables of this file
            event=event, price=price / _UNIT, low=low / _UNIT, high=high / _UNIT, size=size / _UNIT, value=value,  # type: ignore[arg-type]
            count=count, begin=begin or timestamp, sequence=sequence, as_of=as_of,
        )  # fmt: skip
        self.outgoing.append(one)
        kept = self.last.setdefault(slot, {}).setdefault(signal, deque(maxlen=self._config.detections))
        kept.append(encode(one))
        self._mark(slot, signal, sequence, as_of)

    def _mark(self, slot: int, name: str, sequence: int, as_of: int) -> None:
        self.told[slot, name] = sequence, as_of
        self.changed.add((slot, name))

    # --- candles ---

    def closed(self, slot: int, interval: int, candle: Candle, now: int, sequence: int) -> None:
        """A candle closed for the first time."""
        spans = self._state.spans
        if interval == 0 and slot in self.zones:
            self._meet(slot, candle, now, sequence)
        if interval not in self._intervals and interval != spans.day:
            return
        meta = candle.meta.tolist()
        found = examine(candle.meta, candle.buy, candle.sell, self._options)
        first = found[0].tolist()
        wide = (meta[ROW] << meta[SHIFT]) * _units(meta[TICK:])[0]
        if interval == spans.day:
            self._open(slot, NAKED, interval, candle, meta, wide, first[CONTROL], first[CONTROL], now, sequence)
        if interval not in self._intervals:
            return
        for side, low, high, count, size in found[1 : 1 + first[STACKS], :5].tolist():
            self._open(
                slot, STACK, interval, candle, meta, wide, low, high, now, sequence, _SIDES[side - 1], size, count
            )
        last = len(candle.buy) - 1
        for is_open, row, side in ((first[HIGH_OPEN], last, "sell"), (first[LOW_OPEN], 0, "buy")):
            if is_open:
                self._open(slot, UNFINISHED, interval, candle, meta, wide, row, row, now, sequence, side)
        self._dying(slot, interval, candle, meta, wide, first, now, sequence)
        self._diverging(slot, interval, meta, candle.timestamp, now, sequence)

    def _open(
        self, slot: int, kind: str, interval: int, candle: Candle, meta: list[int], wide: int, low: int, high: int,
        now: int, sequence: int, side: str = "", size: int = 0, count: int = 1,
    ) -> None:  # fmt: skip
        config, spans = self._config, self._state.spans
        tick, step = _units(meta[TICK:])
        size = size or int(candle.buy[low] + candle.sell[low])
        bottom, edge = (meta[FIRST] + low) * wide, (meta[FIRST] + high) * wide
        if not side:  # a naked level pulls price: up from below, down from above
            side = "buy" if bottom >= meta[CLOSE] * tick else "sell"
        life = config.imbalance.candles * spans.lengths[interval] if kind == STACK else 0
        until = candle.timestamp + spans.lengths[interval] + life if life else 0
        zone = Zone(
            kind, spans.names[interval], side, candle.timestamp, bottom, edge, edge + wide, size * step, count, until
        )
        if slot not in self.zones:
            self.zones[slot] = self._zones([])
        self.zones[slot].open(zone)
        self._mark(slot, "", sequence, now)
        self._say(slot, zone, "opened", candle.timestamp, now, sequence)

    def _meet(self, slot: int, candle: Candle, now: int, sequence: int) -> None:
        """A closed base candle meets the zones opened before it."""
        meta = candle.meta.tolist()
        tick, _ = _units(meta[TICK:])
        end = candle.timestamp + self._state.spans.base
        for zone in self.zones[slot].close(meta[LOW] * tick, meta[HIGH] * tick, end):
            self._mark(slot, "", sequence, now)
            self._say(slot, zone, "closed", candle.timestamp, now, sequence)

    def _say(self, slot: int, zone: Zone, event: str, timestamp: int, now: int, sequence: int) -> None:
        price = zone.high if zone.side == "buy" else zone.low
        self._tell(
            slot, zone.kind, zone.interval, timestamp, zone.side, event, price, zone.low, zone.high, zone.size, 0.0,
            zone.count, sequence, now, zone.begin,
        )  # fmt: skip

    def _dying(
        self, slot: int, interval: int, candle: Candle, meta: list[int], wide: int, first: list[int], now: int,
        sequence: int,
    ) -> None:  # fmt: skip
        """Absorption and exhaustion as the candle shows them."""
        _, step = _units(meta[TICK:])
        name, at = self._state.spans.names[interval], candle.timestamp
        last = len(candle.buy) - 1
        for side, row, volume in (
            ("buy", first[ABSORBED_BUYS], candle.buy),
            ("sell", first[ABSORBED_SELLS], candle.sell),
        ):
            if row >= 0:
                price = (meta[FIRST] + row) * wide
                size = int(volume[row]) * step
                self._tell(
                    slot, "absorption_candle", name, at, side, "seen", price, price, price, size, 0.0, 1, sequence, now
                )
        rows = self._config.exhaustion.rows
        for side, seen, volume, outer, inner in (
            ("buy", first[EXHAUSTED_BUYS], candle.buy, last, last - 1),
            ("sell", first[EXHAUSTED_SELLS], candle.sell, 0, 1),
        ):
            if seen:
                ratio = int(volume[inner]) / int(volume[outer]) if volume[outer] else 0.0
                low, high = sorted((outer, outer + (1 - rows if side == "buy" else rows - 1)))
                self._tell(
                    slot, "exhaustion", name, at, side, "seen", (meta[FIRST] + outer) * wide,
                    (meta[FIRST] + low) * wide, (meta[FIRST] + high) * wide, int(volume[outer]) * step, ratio, rows,
                    sequence, now,
                )  # fmt: skip

    def _diverging(self, slot: int, interval: int, meta: list[int], at: int, now: int, sequence: int) -> None:
        tick, step = _units(meta[TICK:])
        around = self._config.divergence.pivots
        series = self._series.setdefault((slot, interval), _Series())
        bar = Bar(
            at, meta[OPEN] * tick, meta[HIGH] * tick, meta[LOW] * tick, meta[CLOSE] * tick, meta[DELTA] * step,
            self._state.running[slot] + meta[CVD] * step,
        )  # fmt: skip
        name = self._state.spans.names[interval]

        def tell(signal: str, side: str, price: int, value: int, begin: int = 0, count: int = 1) -> None:
            low, high = min(bar.low, price), max(bar.high, price)
            size = abs(bar.delta)
            self._tell(
                slot, signal, name, at, side, "seen", price, low, high, size, value / _UNIT, count, sequence, now, begin
            )

        side = against_bar(bar)
        if side:
            tell("divergence_bar", side, bar.close, bar.delta)
        side = reversal(series.bars[-1], bar) if series.bars else ""
        if side:
            tell("divergence_reversal", side, bar.close, bar.delta, count=2)
        series.bars = [*series.bars[-2 * around :], bar]
        if len(series.bars) <= 2 * around:
            return
        for is_high in (True, False):
            turned = pivot(series.bars, is_high)
            if turned is None:
                continue
            before = series.high if is_high else series.low
            if before is not None and swing(before, turned, is_high):
                side = "sell" if is_high else "buy"
                tell("divergence_swing", side, turned.price, turned.cvd - before.cvd, turned.begin, around)
            if is_high:
                series.high = turned
            else:
                series.low = turned

    # --- keys ---

    def values(self) -> list[Value]:
        """What changed since the last call, as keys of Redis."""
        changed, self.changed = self.changed, set()
        return [self._value(slot, signal) for slot, signal in sorted(changed)]

    def everything(self) -> None:
        """Write every key again."""
        self.changed.update((slot, signal) for slot, found in self.last.items() for signal in found)
        self.changed.update((slot, "") for slot in self.zones)

    def _value(self, slot: int, signal: str) -> Value:
        exchange, symbol = self._state.symbols[slot]
        sequence, as_of = self.told[slot, signal]
        if signal:
            name, own = detections_key(exchange, symbol, signal), f'"signal":"{signal}","items":['
            items = list(self.last[slot][signal])
        else:
            name, own = key("zones", exchange, symbol), '"zones":['
            items = [encode(_shown(zone)) for zone in self.zones[slot].zones]
        head = f'{{"exchange":"{exchange}","symbol":"{symbol}",{own}'
        text = b'%b%b],"sequence":%d,"as_of":%d}' % (head.encode(), b",".join(items), sequence, as_of)
        return Value(name.encode(), text, sequence)

    # --- snapshots ---

    def dump(self) -> bytes:
        """Everything a restart needs."""
        used = len(self._state.symbols)
        more = {
            "series": [
                (*place, its.bars, its.high, its.low) for place, its in self._series.items()
            ],
            "zones": [(slot, [msgspec.structs.astuple(z) for z in its.zones]) for slot, its in self.zones.items()],
            "told": [(*place, *told) for place, told in self.told.items()],
        }  # fmt: skip
        last = [(slot, signal, list(kept)) for slot, found in self.last.items() for signal, kept in found.items()]
        return msgspec.msgpack.encode(
            _Kept(
                self._ints[:used].tobytes(), self._floats[:used].tobytes(), self._sizes[:used].tobytes(),
                self._when.tolist(), self._due.tolist(), last, json.dumps(more).encode(),
            )
        )  # fmt: skip

    def load(self, body: bytes) -> None:
        """Put a dump back into an empty watch whose state is loaded. Raises msgspec.DecodeError, ValueError."""
        if not body:
            return
        kept = msgspec.msgpack.decode(body, type=_Kept)
        self._room()
        for into, data in ((self._ints, kept.ints), (self._floats, kept.floats), (self._sizes, kept.sizes)):
            whole = np.frombuffer(data, into.dtype).reshape(-1, into.shape[1])
            into[: len(whole)] = whole
        self._when[: len(kept.when)], self._due[: len(kept.due)] = kept.when, kept.due
        more = json.loads(kept.more)
        for slot, interval, bars, high, low in more["series"]:
            its = _Series([Bar(*bar) for bar in bars], Pivot(*high) if high else None, Pivot(*low) if low else None)
            self._series[slot, interval] = its
        for slot, zones in more["zones"]:
            self.zones[slot] = self._zones([Zone(*zone) for zone in zones])
        self.told = {(slot, signal): (sequence, as_of) for slot, signal, sequence, as_of in more["told"]}
        for slot, signal, items in kept.last:
            self.last.setdefault(slot, {})[signal] = deque(items, maxlen=self._config.detections)

    def _zones(self, kept: list[Zone]) -> Zones:
        return Zones(kept, self._config.imbalance.closes, self._config.profile.naked)


def _units(grid: list[int]) -> tuple[int, int]:
    """Tick and step of a grid in 1e-18."""
    return grid[0] * 10 ** (DECIMALS_MAX - grid[1]), grid[2] * 10 ** (DECIMALS_MAX - grid[3])


def _shown(zone: Zone) -> dict[str, Any]:
    """A zone as readers see it."""
    price = zone.high if zone.side == "buy" else zone.low
    return {
        "signal": zone.kind, "interval": zone.interval, "side": zone.side, "from": zone.begin, "price": price / _UNIT,
        "low": zone.low / _UNIT, "high": zone.high / _UNIT, "top": zone.top / _UNIT, "size": zone.size / _UNIT,
        "count": zone.count,
    }  # fmt: skip


def _rules(config: SignalsSettings) -> Floats:
    """The numbers the kernels of single trades take."""
    its = np.zeros(prints.RULES)
    large, sweep, band = config.large_trade, config.sweep, config.absorption
    its[prints.JOIN], its[prints.QUANTILE], its[prints.NOTIONAL] = large.join, large.quantile, large.notional
    its[prints.LEVELS], its[prints.WITHIN] = sweep.levels, sweep.within
    its[prints.SWEEP_QUANTILE], its[prints.SWEEP_NOTIONAL] = sweep.quantile, sweep.notional
    its[prints.BAND_ROWS], its[prints.BAND_TIME], its[prints.BAND_SIZE] = band.rows, band.within, band.size
    its[prints.DEVIATIONS], its[prints.BEYOND] = band.deviations, band.beyond
    return its
