"""Messages of the trade stream into columns, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from schemas import time
from schemas.symbols import is_exchange, is_symbol
from signals._layout import Columns
from signals._partition import WHOLE, Part
from signals._state import State


class _Print(msgspec.Struct, tag_field="kind", tag="trade", gc=False):
    """The fields of a trade the engine uses."""

    exchange: str
    symbol: str
    timestamp: int
    received: int
    trade_id: str
    price: float
    quantity: float
    value: float
    is_buyer_maker: bool


class _Tick(msgspec.Struct, tag_field="kind", tag="clock", gc=False):
    """A clock event."""

    exchange: str
    timestamp: int
    received: int


_trades = msgspec.json.Decoder(_Print)
_clock = msgspec.json.Decoder(_Tick)
_CLOCK = "md.clock."
OTHERS = -3


class Message(NamedTuple):
    """A message of the stream."""

    subject: str
    payload: bytes
    sequence: int


class Decoder:
    """Turns messages into columns and finds the slots of their symbols."""

    def __init__(self, state: State, part: Part = WHOLE) -> None:
        self._state = state
        self._part = part
        self._slots: dict[str, int] = {}
        self.bad = 0
        """Lines that are no valid event of their subject. The table consumer keeps their bytes."""
        self.received: dict[int, int] = {}
        """Newest ``received`` of each exchange, trades and clock events."""
        self.last: dict[int, tuple[int, int, int]] = {}
        """(timestamp, received, sequence) of each slot's last trade."""

    def columns(self, messages: Sequence[Message]) -> Columns:
        """The events of ``messages`` in order; without those of symbols other engines own."""
        if self._part != WHOLE:
            messages = [message for message in messages if self._slot(message.subject) != OTHERS]
        try:
            prints, lines = self._fast(messages)
        except msgspec.DecodeError:
            prints, lines = self._one_by_one(messages)
        subjects = [message.subject for message in messages]
        slots = np.repeat([self._slot(subject) for subject in subjects], lines)
        sequences = np.repeat([message.sequence for message in messages], lines)
        return self._arranged(prints, slots, sequences)

    def _fast(self, messages: Sequence[Message]) -> tuple[list[_Print], list[int]]:
        """All at once when every line is good. Raises msgspec.DecodeError otherwise."""
        prints: list[_Print] = []
        lines: list[int] = []
        begin = 0
        for n, message in enumerate(messages):
            if message.subject.startswith(_CLOCK):
                prints += _trades.decode_lines(b"\n".join([m.payload for m in messages[begin:n]]))
                prints.append(_as_print(_clock.decode(message.payload)))
                begin = n + 1
            lines.append(message.payload.count(b"\n") + 1)
        prints += _trades.decode_lines(b"\n".join([m.payload for m in messages[begin:]]))
        if len(prints) != sum(lines):  # blank lines, or a clock message of several: count them where they are
            raise msgspec.DecodeError("line count")
        return prints, lines

    def _one_by_one(self, messages: Sequence[Message]) -> tuple[list[_Print], list[int]]:
        prints: list[_Print] = []
        lines: list[int] = []
        for message in messages:
            before = len(prints)
            is_clock = message.subject.startswith(_CLOCK)
            for line in message.payload.split(b"\n"):
                try:
                    if line.strip():
                        prints.append(_as_print(_clock.decode(line)) if is_clock else _trades.decode(line))
                except msgspec.DecodeError:
                    self.bad += 1
            lines.append(len(prints) - before)
        return prints, lines

    def _slot(self, subject: str) -> int:
        """The slot of a trade subject; -1 of a clock, -2 of a name that may not become a key, OTHERS of not ours."""
        slot = self._slots.get(subject)
        if slot is None:
            kind, _, rest = subject.partition(".")[2].partition(".")
            exchange, _, symbol = rest.partition(".")
            if not is_exchange(exchange) or (kind == "trade" and not is_symbol(symbol)):
                return -2
            if kind != "trade":
                return -1
            own = self._part.owns(exchange, symbol)
            slot = self._slots[subject] = self._state.slot(exchange, symbol) if own else OTHERS
        return slot

    def _arranged(self, prints: list[_Print], slots: np.ndarray, sequences: np.ndarray) -> Columns:
        state, exchanges = self._state, self._state.exchanges
        stamps = _integers([p.timestamp for p in prints])
        prices = np.array([p.price for p in prints], np.float64)
        quantities = np.array([p.quantity for p in prints], np.float64)
        values = np.array([p.value for p in prints], np.float64)
        is_trade = slots >= 0
        whose = state.exchange_of[np.maximum(slots, 0)].copy()
        for n in np.flatnonzero(slots == -1).tolist():
            whose[n] = state.exchange(prints[n].exchange) if is_exchange(prints[n].exchange) else -1
        names = state.symbols
        own = [
            slot < 0 or (p.symbol == names[slot][1] and p.exchange == names[slot][0])
            for p, slot in zip(prints, slots.tolist(), strict=True)
        ]
        with np.errstate(invalid="ignore"):
            sane = (prices > 0) & (quantities > 0) & (values >= 0)
            sane &= np.isfinite(prices) & np.isfinite(quantities) & np.isfinite(values)
        good = np.array(own, np.bool_) & (slots > -2) & (whose >= 0) & (stamps >= time.EARLIEST)
        received = _integers([p.received for p in prints])
        # Ahead of our clock by more than a day: not believed, or it would close everything.
        good &= (stamps <= received + time.AHEAD_MAX) & (sane | ~is_trade)
        self._note(exchanges, whose, slots, stamps, received, sequences, good)
        orders, identities = numbers([p.trade_id for p in prints])
        is_sell = np.array([p.is_buyer_maker for p in prints], np.bool_)
        columns = Columns(whose, slots, stamps, orders, identities, prices, quantities, values, is_sell, sequences)
        self.bad += int((~good).sum())
        return columns if good.all() else Columns._make(column[good] for column in columns)

    def _note(
        self, exchanges: Sequence[str], whose: np.ndarray, slots: np.ndarray, stamps: np.ndarray,
        received: np.ndarray, sequences: np.ndarray, good: np.ndarray,
    ) -> None:  # fmt: skip
        for x in range(len(exchanges)):
            mine = received[(whose == x) & good]
            if len(mine):
                self.received[x] = max(self.received.get(x, 0), int(mine.max()))
        seen, index = np.unique(slots[::-1], return_index=True)
        for slot, n in zip(seen.tolist(), (len(slots) - 1 - index).tolist(), strict=True):
            if slot >= 0 and good[n]:
                self.last[slot] = int(stamps[n]), int(received[n]), int(sequences[n])


def _as_print(tick: _Tick) -> _Print:
    return _Print(tick.exchange, "", tick.timestamp, tick.received, "0", 1.0, 1.0, 1.0, False)


def _integers(numbers: list[int]) -> np.ndarray:
    """int64; what does not fit is 0, which no check lets through."""
    try:
        return np.array(numbers, np.int64)
    except OverflowError:
        return np.array([n if abs(n) < 2**62 else 0 for n in numbers], np.int64)


def numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(order, identity) of trade ids: both the number where they are numbers, else -1 and a hash."""
    joined = "".join(texts)
    if joined.isascii() and joined.isdigit() and max(map(len, texts), default=0) <= 18 and "" not in texts:
        whole = np.array(list(map(int, texts)), np.int64)
        return whole, whole
    orders, identities = [], []
    for text in texts:
        if text.isascii() and text.isdigit() and len(text) <= 18:
            orders.append(int(text))
            identities.append(int(text))
        else:
            orders.append(-1)
            digest = blake2b(text.encode(), digest_size=8).digest()
            identities.append(int.from_bytes(digest, "little", signed=True))
    return np.array(orders, np.int64), np.array(identities, np.int64)
