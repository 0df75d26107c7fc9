"""``vwap:<x>:<anchor>``: volume-weighted average price with bands of one to three standard deviations."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from schemas.names import key
from signals._layout import AS_OF, EMPTY, SEQUENCE, START
from signals._ledger import Ledger
from signals._moments import Moments, moments_of
from signals._open import view
from signals._redis import Value
from signals._since import Since
from signals._state import State
from signals._write import DECIMALS_MAX, plain

NAME, SESSION = "vwap", "session"
SIGMAS = (1, 2, 3)
PLACES = 12
"""Decimals shown, cut off where a number has more: exact, and the same on every machine."""


class Vwap(NamedTuple):
    """Price and deviation, in 1e-12 quote units."""

    price: int
    deviation: int


def vwap(moments: Moments) -> Vwap | None:
    """None without volume. The variance is of the population, weighted by size: Σqp²/Σq − vwap²."""
    weight, first, second = moments
    if weight <= 0:
        return None
    cut = 10 ** (DECIMALS_MAX - PLACES)
    spread = max(second * weight - first * first, 0)
    return Vwap(first // (weight * cut), isqrt(spread) // (weight * cut))


class Vwaps:
    """Renders the key of each anchor: the session, the week, and those configured."""

    def __init__(self, state: State, ledger: Ledger, since: Since) -> None:
        self._state, self._ledger, self._since = state, ledger, since

    def values(self, slot: int) -> list[Value]:
        """Every anchor of one slot."""
        state = self._state
        exchange, symbol = state.symbols[slot]
        day, found = state.spans.day, []
        newest = self._ledger.newest.get((slot, day))
        meta = None
        if view(slot, day, state.durations, day, state.live, state.parts, state.touched, state.scratch):
            meta = state.scratch.meta[0].tolist()
        elif newest is not None:
            meta = newest.meta.tolist()
        told = [tuple(state.closings[slot].tolist()), tuple(state.touched[slot].tolist())]
        if meta is not None:
            sequence, as_of = _latest([*told, (meta[SEQUENCE], meta[AS_OF])])
            found.append(value(exchange, symbol, SESSION, meta[START], moments_of(meta), sequence, as_of))
        unclosed = [row for row in self._unclosed(slot) if row[START] != EMPTY]
        told += [(row[SEQUENCE], row[AS_OF]) for row in unclosed]
        sequence, as_of = _latest(told)
        for name, its in self._since.sums(slot).items():
            total = its.moments
            for row in unclosed:
                if row[START] >= its.begin:
                    total = total.plus(moments_of(row))
            found.append(value(exchange, symbol, name, its.begin, total, sequence, as_of))
        return found

    def _unclosed(self, slot: int) -> list[list[int]]:
        """The meta rows of what no closed minute holds yet."""
        state = self._state
        part = state.parts.meta[state.part(slot, state.spans.minute)]
        rows: list[list[int]] = [part.tolist(), *state.live.meta[2 * slot : 2 * slot + 2].tolist()]
        return rows


def _latest(told: list[tuple[int, int]]) -> tuple[int, int]:
    return max(sequence for sequence, _ in told), max(as_of for _, as_of in told)


def value(exchange: str, symbol: str, anchor: str, begin: int, moments: Moments, sequence: int, as_of: int) -> Value:
    """The key of one anchor."""
    found = vwap(moments)
    if found is None:
        text = b'"vwap":null,"deviation":null,"bands":[]'
    else:
        price, deviation = found
        bands = [
            b'{"sigma":%d,"lower":%b,"upper":%b}'
            % (n, plain(price - n * deviation, PLACES), plain(price + n * deviation, PLACES))
            for n in SIGMAS
        ]
        text = b'"vwap":%b,"deviation":%b,"bands":[%b]' % (
            plain(price, PLACES), plain(deviation, PLACES), b",".join(bands)
        )  # fmt: skip
    head = f'{{"exchange":"{exchange}","symbol":"{symbol}","anchor":"{anchor}","from":{begin},'
    text = b'%b%b,"volume":%b,"sequence":%d,"as_of":%d}' % (
        head.encode(), text, plain(moments.weight, DECIMALS_MAX), sequence, as_of
    )  # fmt: skip
    return Value(key(NAME, exchange, symbol, anchor).encode(), text, sequence)
