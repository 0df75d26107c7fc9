"""``cvd:<x>``: cumulative volume delta of the session, the running one, and of each open candle."""

from __future__ import annotations

import numpy as np

from schemas.names import key
from signals._layout import AS_OF, DAY, DELTA, SEQUENCE, START, STEP, STEP_DECIMALS
from signals._ledger import Ledger
from signals._open import SPAN_AS_OF, SPAN_DELTA, SPAN_SEQUENCE, SPAN_START
from signals._redis import Value
from signals._state import State
from signals._write import DECIMALS_MAX, plain

NAME = "cvd"
_HEAD = b'{"exchange":"%b","symbol":"%b","session":%b,"since":%d,"total":%b,"total_since":%d,"intervals":{%b}'


def value(state: State, ledger: Ledger, slot: int, spans: np.ndarray) -> Value | None:
    """The key of one slot; ``spans`` is what ``Footprints.open`` told of it. None before the first trade.

    An interval without an open candle is left out. The session is that of the last trade.
    """
    day = state.spans.day
    newest = ledger.newest.get((slot, day))
    row = spans.tolist()
    if row[day][SPAN_START] >= 0:
        since, delta, sequence = row[day][SPAN_START], row[day][SPAN_DELTA], row[day][SPAN_SEQUENCE]
        step, places = _step(state, slot, since // DAY)
        running = state.running[slot] + delta * step * 10 ** (DECIMALS_MAX - places)
        as_of = row[day][SPAN_AS_OF]
    elif newest is not None:
        meta = newest.meta.tolist()
        since, delta, sequence, as_of = meta[START], meta[DELTA], meta[SEQUENCE], meta[AS_OF]
        step, places, running = meta[STEP], meta[STEP_DECIMALS], state.running[slot]
    else:
        return None
    intervals = [
        b'"%b":%b' % (name.encode(), plain(span[SPAN_DELTA] * step, places))
        for name, shown, span in zip(state.spans.names, state.spans.shown, row, strict=True)
        if shown and span[SPAN_START] >= 0
    ]
    exchange, symbol = state.symbols[slot]
    text = _HEAD % (
        exchange.encode(), symbol.encode(), plain(delta * step, places), since,
        plain(running, DECIMALS_MAX), state.since[slot] or since, b",".join(intervals),
    )  # fmt: skip
    closed, closed_at = state.closings[slot].tolist()
    sequence, as_of = max(sequence, closed), max(as_of, closed_at)
    text += b',"sequence":%d,"as_of":%d}' % (sequence, as_of)
    return Value(key(NAME, exchange, symbol).encode(), text, sequence)


def _step(state: State, slot: int, day: int) -> tuple[int, int]:
    step, places = state.grid[slot, day & 1, 2:4].tolist()
    return int(step), int(places)
