"""Our own closed candles become one row each and one row per price row, whatever is revised."""

from __future__ import annotations

import msgspec
from nats.aio.client import Client

from consumers._questdb import query
from schemas import candles, names
from schemas.candles import FootprintCandle, Unfinished
from tests.conftest import Stack
from tests.consuming import consuming, dead_letters, new_symbol, now, until_health, until_rows


def candle(
    symbol: str, *, revision: int = 0, row_ticks: int = 1, level: int = 1000, **fields: object
) -> FootprintCandle:
    """Three rows; the middle one empty unless told otherwise."""
    known = FootprintCandle(
        "binance", symbol, "1m", now(), revision, True, True, 0.1, 0.1 * row_ticks, 100.0, 100.2, 100.0, 100.2,
        3.0, 2.0, 1.0, -1.0, 2.0, 1.0, 5, 100.0, 100.2, 100.0,
        [100.0, 100.1, 100.2], [1.0, 0.0, 2.0], [0.5, 0.0, 1.5], [], [], Unfinished(True, False), 77, now() + 59,
        buy_value=300.0, sell_value=200.0, buy_trades=3, sell_trades=2, level=level, row_ticks=row_ticks,
        row_buys=[1, 0, 2], row_sells=[1, 0, 1],
    )  # fmt: skip
    return msgspec.structs.replace(known, **fields)


async def _publish(nats: Client, one: FootprintCandle) -> None:
    subject = names.signal_subject("footprint", one.exchange, one.symbol, one.interval)
    await nats.jetstream().publish(subject, candles.encode(one))


async def _levels(stack: Stack, symbol: str) -> list[tuple]:
    sql = "SELECT level, price, buy, sell, buys, sells, revision FROM footprints WHERE symbol = $1 ORDER BY level"
    return await query(stack.questdb_pg, sql, symbol)


async def test_a_closed_candle_is_one_row_and_one_row_for_each_price_row_that_traded(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "candles", "footprints"):
        await _publish(nats, candle(symbol))
        await until_rows(stack, 1, "candles", symbol)
        await until_rows(stack, 2, "footprints", symbol)
    sql = "SELECT open, close, buy, sell, buy_value, sell_value, buys, sells, trades, complete, sequence FROM candles"
    found = await query(stack.questdb_pg, f"{sql} WHERE symbol = $1", symbol)
    assert found == [(100.0, 100.2, 3.0, 2.0, 300.0, 200.0, 3, 2, 5, True, 77)]
    assert await _levels(stack, symbol) == [(1000, 100.0, 1.0, 0.5, 1, 1, 0), (1002, 100.2, 2.0, 1.5, 2, 1, 0)]


async def test_a_revision_with_coarser_rows_leaves_no_volume_at_the_finer_levels(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    coarse = candle(
        symbol, revision=1, row_ticks=4, prices=[100.0], buys=[3.5], sells=[2.0], row_buys=[4], row_sells=[2]
    )
    async with consuming(stack, nats, "candles", "footprints") as health:
        await _publish(nats, candle(symbol))
        await until_rows(stack, 2, "footprints", symbol)
        await _publish(nats, coarse)
        await until_health(health, "footprints", rows=4)  # the two, the coarse one, and one set to zero
        await until_health(health, "candles", rows=2)
    async with consuming(stack, nats, "footprints") as health:
        await _publish(nats, candle(symbol))  # the first version comes again
        await until_health(health, "footprints", rows=0, duplicates=1)
    assert await _levels(stack, symbol) == [(1000, 100.0, 3.5, 2.0, 4, 2, 1), (1002, 100.2, 0.0, 0.0, 0, 0, 1)]


async def test_a_candle_that_became_complete_replaces_itself_at_equal_revision(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "candles") as health:
        await _publish(nats, candle(symbol, complete=False))
        await until_health(health, "candles", rows=1)
        await _publish(nats, candle(symbol, complete=True))
        await until_health(health, "candles", rows=2)
        await until_rows(stack, 1, "candles", symbol)
    assert await query(stack.questdb_pg, "SELECT complete FROM candles WHERE symbol = $1", symbol) == [(True,)]


async def test_candles_that_contradict_themselves_become_dead_letters(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "candles", "footprints") as health:
        for fault in ({"closed": False}, {"buys": [1.0]}, {"low": 500.0}, {"interval": "5m"}):
            one = candle(symbol, **fault)
            await nats.jetstream().publish(
                names.signal_subject("footprint", "binance", symbol, "1m"), candles.encode(one)
            )
        await _publish(nats, candle(symbol))
        await until_health(health, "footprints", rows=2, dead=4)
        await until_health(health, "candles", rows=1, dead=4)
    assert {subject for subject, *_ in await dead_letters(nats)} == {"md.dead.footprint.binance"}
