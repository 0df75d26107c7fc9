"""The footprint kernel on columns in memory, beside a loop that only reads the same columns."""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from schemas.settings import SignalsSettings
from signals._engine import Engine
from signals._grid import Grid
from signals._layout import Columns
from signals._state import Spans, State

BATCH = 10_000
SPAN_US = 60_000_000
ROUNDS = 5


@njit(cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _read(timestamp, price, quantity, is_sell, slot) -> float:  # type: ignore[no-untyped-def]  # compiled for arrays
    total = 0.0
    for i in range(len(timestamp)):
        total += timestamp[i] * 1e-16 + price[i] + quantity[i] + is_sell[i] + slot[i]
    return total


def columns(count: int, symbols: int) -> Columns:
    """A tape of ``count`` trades over one minute, symbols by a power law, prices that wander."""
    rng = np.random.default_rng(7)
    cents = 6_000_000 + np.cumsum(rng.integers(-2, 3, count))
    return Columns(
        exchange=np.zeros(count, np.int64),
        slot=(rng.random(count) ** 2 * symbols).astype(np.int64),
        timestamp=1_723_161_240_000_000 + np.sort(rng.integers(0, SPAN_US, count)),
        order=np.arange(count, dtype=np.int64),
        identity=np.arange(count, dtype=np.int64),
        price=cents / 100.0,
        quantity=rng.integers(1, 100_000, count) / 1e5,
        value=cents * 0.01,
        is_sell=rng.random(count) < 0.5,
        sequence=np.arange(1, count + 1, dtype=np.int64),
    )


def _cut(tape: Columns, start: int) -> Columns:
    return Columns(*(column[start : start + BATCH].copy() for column in tape))


def measure(count: int, symbols: int) -> tuple[float, float]:
    """Trades a second: the reading loop, the engine's fold in batches of 10,000 (best of five, interleaved)."""
    batches = [_cut(tape, start) for tape in (columns(count, symbols),) for start in range(0, count, BATCH)]
    read, fold = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for b in batches:
            _read(b.timestamp, b.price, b.quantity, b.is_sell, b.slot)
        read.append(count / (time.perf_counter() - began))
        fold.append(_fold(batches, symbols, count))
    return max(read), max(fold)


def _fold(batches: list[Columns], symbols: int, count: int) -> float:
    raise AssertionError((Engine, Grid, SignalsSettings, Spans, State, batches, symbols, count))
