"""How long events took from the exchange to us, into the log and into the table: sampled, in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import msgspec

from consumers._batch import Batch
from consumers._pull import stored
from schemas.events import Liquidation, Trade

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets; one more holds what took longer."""
SAMPLES_MAX = 8
"""Events of a batch that are looked at, evenly spread: a batch costs the same whatever it holds."""
OLD_US = 600_000_000
"""What arrives later than this was fetched as history and says nothing about the way."""
TIMED = (Trade, Liquidation)
"""Events whose timestamp is the moment they happened, not the slot they belong to."""
EXCHANGES_MAX = 64


class Latencies:
    """``told`` is stage → exchange → ``{"buckets", "sum", "count"}``, as the heartbeat carries it.

    Stages: ``receive`` from the exchange's time to ours, ``log`` from there to the log, ``row`` from there to the
    table, ``flush`` a write. Exchanges are told apart for TIMED events only; else, and for ``flush``, it is "".
    """

    def __init__(self, event: type[msgspec.Struct], clock: Callable[[], int]) -> None:
        self._timed = event in TIMED
        self._received = "received" in event.__struct_fields__
        self._clock = clock
        self.told: dict[str, dict[str, dict[str, Any]]] = {}

    def sample(self, batch: Batch[Any]) -> None:
        """Look at a few events of a batch that was written just now."""
        now = self._clock()
        for at in range(0, len(batch.events), max(1, -(-len(batch.events) // SAMPLES_MAX))):
            event = batch.events[at]
            logged = stored(batch.messages[batch.origins[at]])
            exchange = event.exchange if self._timed else ""
            self._add("row", exchange, now - logged)
            if not self._received or logged - event.received > OLD_US:
                continue
            self._add("log", exchange, logged - event.received)
            if self._timed and event.received - event.timestamp < OLD_US:
                self._add("receive", exchange, event.received - event.timestamp)

    def flushed(self, seconds: float) -> None:
        """A write took so long."""
        self._add("flush", "", round(seconds * 1e6))

    def _add(self, stage: str, exchange: str, us: int) -> None:
        its = self.told.setdefault(stage, {})
        if exchange not in its:
            if len(its) >= EXCHANGES_MAX:
                return
            its[exchange] = {"buckets": [0] * (len(BOUNDS_S) + 1), "sum": 0.0, "count": 0}
        found, seconds = its[exchange], us / 1e6
        found["buckets"][bisect_left(BOUNDS_S, seconds)] += 1
        found["sum"] += max(seconds, 0.0)
        found["count"] += 1
