"""One row per closed 1m candle of ours and price row that was traded."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from consumers import _candles
from consumers._questdb import Questdb, QuestdbUnreachable, statement
from consumers._table import Table
from schemas.candles import FootprintCandle


class _Row(msgspec.Struct):
    exchange: str
    symbol: str
    timestamp: int
    level: int
    price: float
    row: float
    buy: float
    sell: float
    buys: int | None
    sells: int | None
    revision: int


def _rows(candle: FootprintCandle) -> Iterator[_Row]:
    who = (candle.exchange, candle.symbol, candle.timestamp)
    for index, (price, buy, sell) in enumerate(zip(candle.prices, candle.buys, candle.sells, strict=True)):
        buys, sells = (counts[index] if counts else None for counts in (candle.row_buys, candle.row_sells))
        if buy or sell or buys or sells:
            level = candle.level + index * candle.row_ticks
            yield _Row(*who, level, price, candle.row, buy, sell, buys, sells, candle.revision)


async def _replaced(questdb: Questdb, candles: list[FootprintCandle]) -> list[msgspec.Struct]:
    """Zeros for the levels of earlier revisions that are no row of the candle any more: its rows grew coarser."""
    revised = [candle for candle in candles if candle.revision]
    if revised and (await questdb.fetch(statement("unapplied"), "footprints"))[0][0]:
        raise QuestdbUnreachable("footprints: rows written before are not to be seen yet")
    zeros: list[msgspec.Struct] = []
    for candle in revised:
        who = (candle.exchange, candle.symbol, candle.timestamp)
        kept = {row.level for row in _rows(candle)}
        for level, price, row in await questdb.fetch(statement("footprint_levels"), *who, candle.revision):
            if level not in kept:
                zeros.append(_Row(*who, level, price, row, 0.0, 0.0, 0, 0, candle.revision))
    return zeros


TABLE = Table(
    name="footprints",
    event=FootprintCandle,
    stream=_candles.STREAM,
    subjects=_candles.SUBJECTS,
    keys=("exchange", "symbol", "level"),
    symbols=("exchange", "symbol"),
    times=(),
    problem=_candles.problem,
    identity=_candles.identity,
    version=_candles.version,
    versions=_candles.VERSIONS,
    row=_Row,
    rows=_rows,
    replaced=_replaced,
    dead_kind="footprint",
)
