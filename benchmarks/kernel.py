"""The kernels on columns in memory, beside a loop that only reads the same columns."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schemas.instruments import Instrument
from schemas.settings import SignalsSettings
from signals._archive import Archive
from signals._core import Core
from signals._grid import Grids
from signals._layout import Columns
from signals._state import Spans
from signals._watch import Watch

BATCH, ROUNDS = 10_000, 5
FIRST_TIME = 1_723_161_240_000_000
OPEN_US, CLOSING_US = 9_000_000, 60_000_000
"""A tape within one base candle, where only the kernel works; and one on which candles close six times."""


@njit(cache=True)
def _read(timestamp: Any, price: Any, quantity: Any, is_sell: Any, slot: Any) -> float:
    total = 0.0
    for i in range(len(timestamp)):
        total += timestamp[i] * 1e-16 + price[i] + quantity[i] + is_sell[i] + slot[i]
    return total


def columns(count: int, symbols: int, span: int) -> Columns:
    """A tape of ``count`` trades over ``span`` µs, symbols by a power law, prices that wander."""
    rng = np.random.default_rng(7)
    cents = 6_000_000 + np.cumsum(rng.integers(-2, 3, count))
    return Columns(
        exchange=np.zeros(count, np.int64),
        slot=(rng.random(count) ** 2 * symbols).astype(np.int64),
        timestamp=FIRST_TIME + np.sort(rng.integers(0, span, count)),
        order=np.arange(count, dtype=np.int64),
        identity=np.arange(count, dtype=np.int64),
        price=np.asarray(cents / 100.0, np.float64),
        quantity=np.asarray(rng.integers(1, 100_000, count) / 1e5, np.float64),
        value=np.asarray(cents * 0.01, np.float64),
        is_sell=rng.random(count) < 0.5,
        sequence=np.arange(1, count + 1, dtype=np.int64),
    )


class Rates(NamedTuple):
    """Trades a second of processor time."""

    read: float
    """The reading loop."""
    fold: float
    """Candles: footprint, profile, CVD and moments."""
    watched: float
    """Candles and detections."""


class _Blind(Watch):
    """Looks at no trades."""

    def trades(self, batch: Columns, start: int, end: int) -> None:
        pass


def measure(count: int, symbols: int, span: int) -> Rates:
    """Batches of 10,000; best of five, taken in turn."""
    tape = columns(count, symbols, span)
    batches = [Columns._make(c[i : i + BATCH].copy() for c in tape) for i in range(0, count, BATCH)]
    best = [0.0, 0.0, 0.0]
    for _ in range(ROUNDS):
        blind, core = core_of(symbols), core_of(symbols)
        blind.engine.watch = _Blind(blind.state, SignalsSettings())
        for one in (blind, core):
            one.engine.apply(_first_trades(symbols))
        for n, work in enumerate((_read_batch, blind.engine.apply, core.engine.apply)):
            began = time.thread_time()
            for batch in batches:
                work(batch)
            best[n] = max(best[n], count / (time.thread_time() - began))
    return Rates(*best)


def _first_trades(symbols: int) -> Columns:
    """Two trades of every symbol: their grids are chosen and their first candles begun before anything is timed."""
    tape, slots = columns(2 * symbols, symbols, 1), np.arange(2 * symbols) % symbols
    return tape._replace(slot=slots, timestamp=FIRST_TIME + np.arange(2 * symbols) // symbols * 1_100_000)


def _read_batch(batch: Columns) -> None:
    _read(batch.timestamp, batch.price, batch.quantity, batch.is_sell, batch.slot)


def core_of(symbols: int) -> Core:
    """An engine that knows ``symbols`` instruments, kept in memory."""
    config = SignalsSettings()
    names = [f"S{n:03}-USDT" for n in range(symbols)]
    grids = Grids("auto", lambda _pinned: None)
    grids.learn(
        [Instrument("binance", n, n, "S", "USDT", "USDT", "spot", tick_size=0.01, quantity_step=1e-5) for n in names]
    )
    core = Core(config, Spans(config.intervals), grids, Archive(":memory:", config.closed))
    for name in names:
        core.state.slot("binance", name)
    return core
