"""Rows as NumPy columns: what a backtest computes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]
_TYPES = {"Ints": np.int64, "Floats": np.float64, "Flags": np.bool_, "Texts": np.object_}


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of one length, ascending by time. Timestamps are µs since the epoch; what is unknown is NaN."""

    timestamp: Ints

    def __len__(self) -> int:
        return len(self.timestamp)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Name → array, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``. Raises ImportError where polars is not installed."""
        import polars

        return polars.DataFrame({name: _plain(column) for name, column in self.columns().items()})

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``. Raises ImportError where pandas is not installed."""
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]  # not a dependency of ours

        return pandas.DataFrame(self.columns())


def _plain(column: npt.NDArray[Any]) -> Any:
    return column.tolist() if column.dtype == np.object_ else column


@dataclass(frozen=True, eq=False)
class Trades(Columns):
    """Executions, fields as in ``schemas.events.Trade``."""

    received: Ints
    trade_id: Texts
    price: Floats
    quantity: Floats
    value: Floats
    is_buyer_maker: Flags
    fills: Ints


@dataclass(frozen=True, eq=False)
class Klines(Columns):
    """The exchange's candles, fields as in ``schemas.events.Kline``; ``timestamp`` is the open time."""

    received: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    value: Floats
    trades: Floats
    revision: Ints


def columns(kind: type[Columns], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Rows whose fields are ``names`` as a ``kind``; fields it does not have are left out."""
    turned = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    made: dict[str, npt.NDArray[Any]] = {}
    for field in fields(kind):
        wanted = _TYPES[str(field.type)]
        values = turned[field.name]
        if wanted is np.float64:
            values = tuple(np.nan if value is None else value for value in values)
        made[field.name] = np.array(values, wanted)
    return kind(**made)


def joined(parts: Sequence[Columns]) -> Any:
    """Parts of one kind, one behind the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return type(first)(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(first)}
    )
