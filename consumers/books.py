"""Top of the book: the first snapshot of a slot."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from consumers._table import Array, Table, is_long, is_time
from schemas.events import Book, Level
from schemas.names import WORD, subject

LEVELS_MAX = 5000


class _Row(msgspec.Struct):
    exchange: str
    symbol: str
    timestamp: int
    received: int
    sequence: int
    bids: Array
    asks: Array


def _rows(book: Book) -> Iterator[_Row]:
    sides = (_side(levels) for levels in (book.bids, book.asks))
    yield _Row(book.exchange, book.symbol, book.timestamp, book.received, book.sequence, *sides)


def _side(levels: list[Level]) -> Array:
    """2×N: prices, quantities. An empty side is 2×0."""
    return np.ascontiguousarray(np.array(levels, dtype=np.float64).reshape(-1, 2).T)


def _problem(book: Book) -> str:
    if max(len(book.bids), len(book.asks)) > LEVELS_MAX or not is_long(book.sequence) or not is_time(book.received):
        return "levels, sequence or received out of bounds"
    if not all(price > 0 and quantity >= 0 for side in (book.bids, book.asks) for price, quantity in side):
        return "prices must be positive, quantities not negative"
    return ""


TABLE = Table(
    name="books",
    event=Book,
    stream=WORD["books"].stream,
    subjects=subject("book", "*", "*"),
    keys=("exchange", "symbol"),
    symbols=("exchange", "symbol"),
    problem=_problem,
    row=_Row,
    rows=_rows,
    flush_rows_max=2000,
)
