"""Compiles every kernel before the first message: a cold compile takes seconds, a cached one a third of one."""

from __future__ import annotations

import numpy as np

from schemas.settings import LargeTradeSettings, SignalsSettings
from signals._archive import Archive
from signals._decode import Decoder
from signals._engine import Engine
from signals._grid import Grids
from signals._layout import DAY, Columns
from signals._ledger import Ledger
from signals._merge import stretch
from signals._rolling import RANGES, Rolling
from signals._seen import Seen
from signals._since import Since
from signals._state import Spans, State
from signals._watch import Watch
from signals.footprint import Footprints
from signals.profile import Profiles


def warm_up() -> None:
    """Run a few made-up trades through a small engine: open, widen, close, render, late; and what is rare by itself."""
    state = State(Spans(["10s", "1m"]))
    archive = Archive(":memory:", 2)
    ledger = Ledger(state, archive, 2)
    # Every taker order is a large one here: it is told of once its time is over.
    config = SignalsSettings(large_trade=LargeTradeSettings(quantile=0.0, notional=1.0))
    engine = Engine(state, Grids("auto", lambda _: None), ledger, DAY, Watch(state, config))
    rolling, since = Rolling(state, ledger, RANGES), Since(state, ledger, [])
    ledger.minutes = [rolling, since]
    slot = state.slot("warm_up", "A-B")
    Decoder(state)
    seen = Seen(DAY)
    start = 20_000 * DAY
    for offset, price in ((0, 100.0), (1_000_000, 100.5), (2_000_000, 400.0), (70_000_000, 100.0), (1_500_000, 99.0)):
        batch = _one(slot, start + offset, price)
        fresh = seen.admit(
            batch.identity, batch.timestamp, batch.slot, batch.exchange, state.salt, state.clocks[:, 0].copy()
        )
        engine.apply(Columns._make(column[fresh] for column in batch))
    seen.recall(seen.news(), state.clocks[:, 0].copy())
    stretch(state.scratch, 0, state.scratch.meta[0].copy())
    footprints = Footprints(state)
    footprints.open([slot])
    for candle in ledger.newest.values():
        footprints.closed(slot, 0, candle)
    Profiles(state, ledger, rolling, since).values(slot)
    archive.close()


def _one(slot: int, timestamp: int, price: float) -> Columns:
    whole = [np.array([n], np.int64) for n in (0, slot, timestamp, timestamp, timestamp)]
    floats = [np.array([n], np.float64) for n in (price, 1.0, price)]
    return Columns._make([*whole, *floats, np.array([False]), np.array([1], np.int64)])
