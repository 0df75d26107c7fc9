"""The engine's state as bytes and back: everything a restart needs beside the closed candles."""

from __future__ import annotations

import msgspec
import numpy as np

from signals._candle import put, take, unpack
from signals._gaps import Hole
from signals._grid import Grid
from signals._late import Late, Mark
from signals._layout import DAY, EMPTY, SHIFT, START, Candles
from signals._redis import Watermark
from signals._since import Kept, Since
from signals._state import State
from signals._watch import Watch

VERSION = 2


class _Slot(msgspec.Struct):
    exchange: str
    symbol: str
    running: str
    since: int
    touched: list[int]
    closings: list[int]
    days: list[int]
    grids: list[list[int]]


class _Snapshot(msgspec.Struct):
    version: int
    intervals: list[str]
    sequence: int
    created: str
    exchanges: list[str]
    clocks: list[list[int]]
    minutes: list[list[int]]
    slots: list[_Slot]
    live: dict[int, bytes]
    parts: dict[int, bytes]
    counts: list[int]
    marks: list[tuple[int, int, int, int, int]]
    late: tuple[int, int, int]
    gaps: list[tuple[str, str, str, Hole]] = []
    gaps_sequence: int = 0
    gaps_created: str = ""
    sums: list[Kept] = []
    watch: bytes = b""


class SnapshotUnusable(ValueError):
    """A snapshot of another version or of other intervals."""


_decode = msgspec.msgpack.Decoder(_Snapshot).decode


def dump(state: State, late: Late, since: Since, watch: Watch, watermark: Watermark) -> bytes:
    """Everything, as of ``watermark``."""
    slots = [
        _Slot(
            exchange, symbol, str(state.running[n]), state.since[n], state.touched[n].tolist(),
            state.closings[n].tolist(), state.grid_day[n].tolist(), state.grid[n].tolist(),
        )
        for n, (exchange, symbol) in enumerate(state.symbols)
    ]  # fmt: skip
    used = len(state.exchanges)
    return msgspec.msgpack.encode(
        _Snapshot(
            VERSION, state.spans.names, watermark.sequence, watermark.created, state.exchanges,
            state.clocks[:used].tolist(), state.minutes[:used].tolist(), slots, _taken(state.live),
            _taken(state.parts), state.counts.tolist(), [(*place, *mark) for place, mark in late.marks.items()],
            (late.applied, late.beyond, late.marks_dropped), state.gaps.dump(), *state.gaps.watermark, since.dump(),
            watch.dump(),
        )
    )  # fmt: skip


def _taken(candles: Candles) -> dict[int, bytes]:
    return {n: take(candles, n).pack() for n in np.flatnonzero(candles.meta[:, START] != EMPTY).tolist()}


def load(body: bytes, state: State, late: Late, since: Since, watch: Watch) -> Watermark:
    """Put a dumped state into an empty one. Raises SnapshotUnusable, msgspec.DecodeError, CandleDamaged."""
    kept = _decode(body)
    if kept.version != VERSION or kept.intervals != state.spans.names:
        raise SnapshotUnusable(f"version {kept.version}, intervals {', '.join(kept.intervals)}")
    for name in kept.exchanges:
        state.exchange(name)
    for slot in kept.slots:
        n = state.slot(slot.exchange, slot.symbol)
        state.running[n], state.since[n] = int(slot.running), slot.since
        state.touched[n], state.closings[n] = slot.touched, slot.closings
        for day, grid in zip(slot.days, slot.grids, strict=True):
            if day >= 0:
                state.set_grid(n, day, Grid(*grid))
    for x, (clock, minute) in enumerate(zip(kept.clocks, kept.minutes, strict=True)):
        state.clocks[x], state.minutes[x] = clock, minute
    for place, packed in kept.live.items():
        candle = unpack(packed)
        put(state.live, place, candle)
        slot_number, day = place // 2, candle.timestamp // DAY
        state.scale[place] = state.grid_scale[slot_number, day & 1]
        state.scale[place, 2] *= 1 << int(candle.meta[SHIFT])
    for place, packed in kept.parts.items():
        put(state.parts, place, unpack(packed))
    state.counts[:] = kept.counts
    late.marks.update({(slot, minute): Mark(*rest) for slot, minute, *rest in kept.marks})
    late.applied, late.beyond, late.marks_dropped = kept.late
    state.gaps.load(kept.gaps, Watermark(kept.gaps_sequence, kept.gaps_created))
    since.load(kept.sums)
    watch.load(kept.watch)
    return Watermark(kept.sequence, kept.created)
