"""Each recipe and each view gives what a plain computation over the same trades gives."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import pytest
from nats.aio.client import Client

from consumers._questdb import SQL, query, statements
from schemas import candles, names
from schemas.candles import FootprintCandle, Unfinished
from schemas.events import Gap, OpenInterest, Trade
from schemas.time import DAY, HOUR, MINUTE, SECOND, floor
from tests.conftest import Stack
from tests.consuming import consuming, new_symbol, now, publish, trade, until, until_rows

ROW = 0.1


async def _recipe(stack: Stack, name: str, symbol: str, **values: Any) -> list[tuple]:
    """A recipe with its declared values replaced, over two days."""
    (text,) = statements(SQL / "recipes" / f"{name}.sql")
    values |= {"symbol": f"'{symbol}'", "from": f"{now() - 2 * DAY}::timestamp", "to": f"{now() + DAY}::timestamp"}
    for word, value in values.items():
        text, count = re.subn(rf"@{word} := .*?(,?)\n", lambda found, v=value, w=word: f"@{w} := {v}{found[1]}\n", text)
        assert count == 1, f"{name} declares no @{word}"
    return await query(stack.questdb_pg, text)


def _market(symbol: str) -> list[Trade]:
    """Random trades over three hours, on a grid of 0.1, some ids missing."""
    dice = random.Random(7)
    start = floor(now(), HOUR) - 3 * HOUR
    made = []
    for number in range(1, 400):
        if dice.random() < 0.9:
            at, price = start + number * 27 * SECOND, 100 + dice.randrange(40) / 10
            quantity = dice.randrange(1, 64) / 16  # sums are exact
            fields = {"timestamp": at, "received": at, "price": price, "quantity": quantity, "value": price * quantity}
            made.append(trade(symbol, number, is_buyer_maker=dice.random() < 0.4, **fields))
    return made


@pytest.fixture
async def market(stack: Stack, nats: Client) -> list[Trade]:
    """The trades of a market of its own, stored."""
    trades = _market(new_symbol())
    async with consuming(stack, nats, "trades"):
        await publish(nats, trades)
        await until_rows(stack, len(trades), "trades", trades[0].symbol)
    return trades


def _rows(trades: list[Trade], slot: int) -> dict[tuple[int, int], list[float]]:
    found: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for one in trades:
        row = found[(floor(one.timestamp, slot), round(one.price * 10))]
        row[one.is_buyer_maker] += one.quantity
        row[2] += 1
    return found


async def test_the_footprint_recipe_equals_a_loop_over_the_trades(stack: Stack, market: list[Trade]) -> None:
    found = await _recipe(stack, "footprint", market[0].symbol, row=ROW)
    have = {(_micros(at), round(price * 10)): [buy, sell, count] for at, price, buy, sell, count in found}
    assert have == _rows(market, MINUTE)


async def test_the_profile_recipe_equals_a_loop_over_the_trades(stack: Stack, market: list[Trade]) -> None:
    found = await _recipe(stack, "profile", market[0].symbol, row=ROW)
    have = {(0, round(price * 10)): (buy, sell, volume) for price, buy, sell, volume in found}
    assert have == {key: (buy, sell, buy + sell) for key, (buy, sell, _) in _rows(market, 10**18).items()}


async def test_the_cvd_recipe_equals_a_running_sum(stack: Stack, market: list[Trade]) -> None:
    deltas: dict[int, float] = defaultdict(float)
    for one in market:
        deltas[floor(one.timestamp, MINUTE)] += -one.quantity if one.is_buyer_maker else one.quantity
    found = await _recipe(stack, "cvd", market[0].symbol)
    assert [(_micros(at), delta) for at, delta, _ in found] == sorted(deltas.items())
    assert [cvd for *_, cvd in found] == list(accumulate(delta for _, delta in sorted(deltas.items())))


async def test_the_completeness_recipe_counts_the_missing_ids_of_each_hour(stack: Stack, market: list[Trade]) -> None:
    hours: dict[int, list[int]] = defaultdict(list)
    for one in market:
        hours[floor(one.timestamp, HOUR)].append(int(one.trade_id))
    wanted, last = [], min(int(one.trade_id) for one in market) - 1
    for hour, ids in sorted(hours.items()):
        wanted.append((hour, max(ids) - last, len(ids), max(ids) - last - len(ids)))
        last = max(ids)
    assert sum(missing for *_, missing in wanted) > 0
    found = await _recipe(stack, "completeness", market[0].symbol)
    assert [(_micros(at), *rest) for at, *rest in found] == wanted


async def test_the_gaps_recipe_lists_what_is_not_closed(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()
    async with consuming(stack, nats, "gaps"):
        for number, status in enumerate(("open", "filled", "partial", "nonexistent")):
            head = ("binance", symbol, at + number, at, "trades", str(number), None, at + number, at + 9)
            await publish(nats, Gap(*head, "reconnect", status, 9, number, "ids", at))
        await until_rows(stack, 4, "gaps", symbol)
    found = await _recipe(stack, "gaps", symbol)
    assert [(row[3], row[6], row[7]) for row in found] == [("0", "open", 9), ("2", "partial", 7)]


async def test_the_rollup_recipe_adds_up_the_stored_minutes(stack: Stack, nats: Client) -> None:
    symbol, start = new_symbol(), floor(now(), HOUR) - HOUR
    wanted: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    async with consuming(stack, nats, "footprints"):
        for minute in range(5):
            buys, sells = [1.0 + minute, 2.0, 3.0], [0.5, 0.25, float(minute)]
            one = FootprintCandle(
                "binance", symbol, "1m", start + minute * MINUTE, 0, True, True, 1.0, 4.0, 9.0, 9.0, 9.0, 9.0,
                1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 3, 9.0, 9.0, 9.0, [8.0, 12.0, 16.0], buys, sells, [], [],
                Unfinished(True, True), 1, start, level=8, row_ticks=4,
            )  # fmt: skip
            for index, (buy, sell) in enumerate(zip(buys, sells, strict=True)):
                level = (8 + 4 * index) // 10 * 10
                wanted[level][0] += buy
                wanted[level][1] += sell
            subject = names.signal_subject("footprint", "binance", symbol, "1m")
            await nats.jetstream().publish(subject, candles.encode(one))
        await until_rows(stack, 15, "footprints", symbol)
    found = await _recipe(stack, "footprint_rollup", symbol, ticks=10)
    assert {level: [buy, sell] for _, level, buy, sell in found} == wanted


def _micros(moment: Any) -> int:
    return round((moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * SECOND)


@pytest.mark.parametrize("name", ["10s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"])
async def test_a_view_of_trades_equals_a_query_on_the_table(stack: Stack, market: list[Trade], name: str) -> None:
    sql = (
        "SELECT timestamp, first(price), max(price), min(price), last(price), sum(quantity), sum(value) "
        f"FROM trades WHERE symbol = $1 SAMPLE BY {name}"
    )
    symbol = market[0].symbol
    wanted = await query(stack.questdb_pg, sql, symbol)
    assert sum(row[5] for row in wanted) == sum(one.quantity for one in market)
    columns = "timestamp, open, high, low, close, volume, value"

    async def equal() -> bool:
        view = f"SELECT {columns} FROM trades_OHLC_{name} WHERE symbol = $1 ORDER BY timestamp"
        return await query(stack.questdb_pg, view, symbol) == wanted

    await until(equal, f"trades_OHLC_{name} equals the table")


@pytest.mark.parametrize("name", ["5m", "1h", "1d"])
async def test_a_view_of_open_interest_equals_a_query_on_the_table(stack: Stack, nats: Client, name: str) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "open_interest"):
        at = now()
        await publish(
            nats, *(OpenInterest("binance", symbol, at - n * MINUTE, at, 100.0 + n % 5, 7.0 * n) for n in range(40))
        )
        await until_rows(stack, 40, "open_interest", symbol)
    sql = (
        "SELECT timestamp, first(open_interest), max(open_interest), min(open_interest), last(open_interest), "
        f"last(value) FROM open_interest WHERE symbol = $1 SAMPLE BY {name}"
    )
    wanted = await query(stack.questdb_pg, sql, symbol)
    assert wanted

    async def equal() -> bool:
        view = (
            f"SELECT timestamp, open, high, low, close, value FROM open_interest_OHLC_{name} "
            "WHERE symbol = $1 ORDER BY timestamp"
        )
        return await query(stack.questdb_pg, view, symbol) == wanted

    await until(equal, f"open_interest_OHLC_{name} equals the table")
