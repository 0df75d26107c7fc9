"""``footprint:<x>:<interval>`` and its ``:closed`` set, and ``sig.footprint.…``: the candles themselves."""

from __future__ import annotations

import numpy as np

from schemas.names import candle_message_id, key, signal_subject
from signals._candle import Candle
from signals._layout import BUYS, FIRST, REVISION, ROW, ROWS_MAX, SELLS, SEQUENCE, SHIFT, Floats
from signals._moments import averages, moments
from signals._open import SPAN_COLUMNS, SPAN_FROM, SPAN_SEQUENCE, SPAN_TO, render_open
from signals._options import DEFAULTS
from signals._redis import Member, Value
from signals._render import ROOM, candle
from signals._state import State

NAME = "footprint"


class Footprints:
    """Candles as JSON. One buffer serves all, so texts are copied out of it."""

    def __init__(self, state: State, options: Floats = DEFAULTS) -> None:
        self._state = state
        self._options = options
        self._out = np.empty(2 * ROOM * len(state.spans), np.uint8)
        self._marks = np.zeros(ROWS_MAX, np.uint8)
        self._prefixes: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def key_of(self, slot: int, interval: int) -> bytes:
        """``footprint:binance:BTC-USDT:1m``."""
        return self._names(slot, interval)[0]

    def closed_key_of(self, slot: int, interval: int) -> bytes:
        """``footprint:binance:BTC-USDT:1m:closed``."""
        return self._names(slot, interval)[0] + b":closed"

    def _names(self, slot: int, interval: int) -> tuple[bytes, bytes]:
        """The key, and the text every candle of the series begins with."""
        found = self._prefixes.get((slot, interval))
        if found is None:
            exchange, symbol = self._state.symbols[slot]
            name = self._state.spans.names[interval]
            text = f'{{"exchange":"{exchange}","symbol":"{symbol}","interval":"{name}",'
            found = key(NAME, exchange, symbol, name).encode(), text.encode()
            self._prefixes[slot, interval] = found
        return found

    def open(self, slots: list[int]) -> tuple[list[Value], np.ndarray]:
        """The open candles of ``slots``, and what ``render_open`` told of each (slot, interval)."""
        state, values, told = self._state, [], []
        at = 0
        while at < len(slots):  # the buffer holds at least one slot
            some = np.array(slots[at:], np.int64)
            spans = np.full((len(some), len(state.spans), SPAN_COLUMNS), -1, np.int64)
            holes_at, holes = state.gaps.table([state.symbols[slot] for slot in slots[at:]])
            done = render_open(
                self._out, some, state.durations, state.shown, state.spans.day, state.live, state.parts,
                state.touched, state.scratch, spans, holes_at, holes,
                self._options,
            )  # fmt: skip
            whole = self._out.data
            for slot, row in zip(slots[at : at + done], spans.tolist(), strict=False):
                for interval, span in enumerate(row):
                    if span[SPAN_FROM] >= 0:
                        name, prefix = self._names(slot, interval)
                        text = prefix + whole[span[SPAN_FROM] : span[SPAN_TO]].tobytes()
                        values.append(Value(name, text, span[SPAN_SEQUENCE]))
            told.append(spans[:done])
            at += done
        return values, np.concatenate(told) if told else np.zeros((0, len(state.spans), SPAN_COLUMNS), np.int64)

    def closed(self, slot: int, interval: int, closed: Candle) -> bytes:
        """A closed candle, as Redis holds it."""
        count = len(closed.buy)
        end = candle(self._out, 0, closed.meta, closed.buy, closed.sell, count, True, self._marks, self._options)
        return self._names(slot, interval)[1] + self._out[:end].tobytes()

    def member(self, slot: int, interval: int, closed: Candle) -> Member:
        """A closed candle for its sorted set."""
        text = self.closed(slot, interval, closed)
        return Member(self.closed_key_of(slot, interval), closed.timestamp, text, int(closed.meta[SEQUENCE]))

    def message(self, slot: int, interval: int, closed: Candle) -> tuple[str, bytes, str]:
        """Subject, payload and id of a closed candle for the log, with what tables need beside."""
        meta = closed.meta.tolist()
        wide = meta[ROW] << meta[SHIFT]
        mean, variance = averages(moments(closed))
        more = (
            f',"vwap":{mean!r},"variance":{variance!r}'
            f',"buy_value":{float(closed.values[0])!r},"sell_value":{float(closed.values[1])!r}'
            f',"buy_trades":{meta[BUYS]},"sell_trades":{meta[SELLS]},"level":{meta[FIRST] * wide},"row_ticks":{wide}'
            f',"row_buys":{_list(closed.buys)},"row_sells":{_list(closed.sells)}}}'
        )
        end = closed.timestamp + self._state.spans.lengths[interval]
        gaps_as_of = self._state.gaps.changed(self._state.symbols[slot], closed.timestamp, end)
        more = f',"gaps_as_of":{gaps_as_of}{more}' if gaps_as_of else more
        exchange, symbol = self._state.symbols[slot]
        name = self._state.spans.names[interval]
        return (
            signal_subject(NAME, exchange, symbol, name),
            self.closed(slot, interval, closed)[:-1] + more.encode(),
            candle_message_id(exchange, symbol, NAME, name, closed.timestamp, meta[REVISION], gaps_as_of),
        )


def _list(counts: np.ndarray) -> str:
    return str(counts.tolist()).replace(" ", "")
