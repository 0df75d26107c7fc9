"""Every version of every instrument, from the registry's bucket."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consumers._table import Table, is_time, no_text, no_word
from schemas.instruments import Instrument, Kind
from schemas.names import BUCKET_INSTRUMENTS
from schemas.time import EARLIEST


class _Version(Instrument, frozen=True):
    @property
    def timestamp(self) -> int:
        """Where a version does not say since when it holds, it always did."""
        return max(self.valid_from, EARLIEST)


class _Row(msgspec.Struct):
    exchange: str
    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    settle: str
    kind: Kind
    inverse: bool
    contract_size: float
    tick_size: float | None
    quantity_step: float | None
    row: float | None
    status: str
    valid_from: int
    timestamp: int


def _rows(version: _Version) -> Iterator[_Row]:
    yield _Row(**msgspec.structs.asdict(version), timestamp=version.timestamp)


def _problem(version: _Version) -> str:
    if no_word(version.base, version.quote, version.settle, version.status) or no_text(version.exchange_symbol):
        return "base, quote, settle, status or exchange_symbol out of bounds"
    return "" if is_time(version.valid_from) else "valid_from out of bounds"


TABLE = Table(
    name="instruments",
    event=_Version,
    stream=f"KV_{BUCKET_INSTRUMENTS}",
    subjects=f"$KV.{BUCKET_INSTRUMENTS}.>",
    keys=("exchange", "symbol"),
    symbols=("exchange", "symbol", "base", "quote", "settle", "kind", "status"),
    times=("valid_from",),
    problem=_problem,
    identity=lambda version: (version.exchange, version.symbol, version.timestamp),
    version=lambda _, sequence: (sequence,),
    row=_Row,
    rows=_rows,
    dead_kind="instrument",
)
