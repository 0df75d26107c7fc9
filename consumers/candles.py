"""One row per closed 1m candle of ours."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consumers import _candles
from consumers._table import Table
from schemas.candles import FootprintCandle


class _Row(msgspec.Struct):
    exchange: str
    symbol: str
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    buy: float
    sell: float
    buy_value: float
    sell_value: float
    buys: int
    sells: int
    min_delta: float
    max_delta: float
    trades: int
    revision: int
    complete: bool
    sequence: int
    as_of: int
    vwap: float
    variance: float


_SAME = [name for name in _Row.__struct_fields__ if name not in ("buys", "sells")]


def _rows(candle: FootprintCandle) -> Iterator[_Row]:
    same = {name: getattr(candle, name) for name in _SAME}
    yield _Row(**same, buys=candle.buy_trades, sells=candle.sell_trades)


TABLE = Table(
    name="candles",
    event=FootprintCandle,
    stream=_candles.STREAM,
    subjects=_candles.SUBJECTS,
    keys=("exchange", "symbol"),
    symbols=("exchange", "symbol"),
    times=("as_of",),
    problem=_candles.problem,
    identity=_candles.identity,
    version=_candles.version,
    versions=_candles.VERSIONS,
    row=_Row,
    rows=_rows,
    dead_kind="footprint",
)
