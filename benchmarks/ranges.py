"""The profile of 30 days of one symbol: all of it from the table, then as a running system has it, with Redis."""

from __future__ import annotations

import asyncio
import math
import statistics
import time as clocks
from typing import NamedTuple

import asyncpg
from redis.asyncio import Redis

from benchmarks._stack import until
from consumers._questdb import query, statement
from flowtape.migrate import provision
from schemas import time
from schemas.candles import FootprintCandle, Unfinished, encode
from schemas.names import key
from schemas.settings import Settings
from signals import ranges
from signals._tables import Tables

EXCHANGE, SYMBOL, ROW, TICK = "binance", "BTC-USDT", 2.0, 0.01
DAYS, ROWS_A_MINUTE, CLOSED, RUNS = 30, 16, 200, 20
FIRST = 1_764_547_200_000_000
"""A midnight."""
_FILL = """
INSERT INTO footprints
SELECT $1, $2, ($3::long + (x - 1) / 16 * 60000000)::timestamp, (level * 200)::long, level * 2.0, 2.0,
    (x * 7919 % 1000) / 100.0, (x * 104729 % 1000) / 100.0, x * 7919 % 7 + 1, x * 104729 % 7 + 1, 0
FROM (SELECT x, 30000 + floor(600 * sin((x - 1) / 16 / 3000.0)) + (x - 1) % 16 AS level FROM long_sequence($4::long))
"""
_LIMIT = "SELECT price, sum(buy), sum(sell) FROM footprints"


class Costs(NamedTuple):
    """Milliseconds: the middle of twenty, and the worst."""

    table: float
    table_worst: float
    mixed: float
    mixed_worst: float
    bare: float
    """One query that adds the same rows up, by a bare client."""


def _candle(interval: str, begin: int) -> FootprintCandle:
    """A closed candle over the rows that the table's minutes of its time have."""
    minutes = range((begin - FIRST) // time.MINUTE, (begin - FIRST + time.duration(interval)) // time.MINUTE)
    lows = [30000 + math.floor(600 * math.sin(minute / 3000)) for minute in minutes]
    levels = range(min(lows), max(lows) + ROWS_A_MINUTE)
    sizes = [float(level % 97) for level in levels]
    return FootprintCandle(  # what no profile reads is 0
        EXCHANGE, SYMBOL, interval, begin, 0, True, True, TICK, ROW, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        1, 0.0, 0.0, 0.0, [level * ROW for level in levels], sizes, sizes, [], [], Unfinished(False, False), 1, begin,
    )  # fmt: skip


async def _fill(settings: Settings, redis: Redis) -> None:
    await provision(settings, lambda _line: None)
    base: asyncpg.Connection = await asyncpg.connect(settings.questdb.pg, user="admin", password="quest")
    await base.execute(
        _FILL.replace("$1", f"'{SYMBOL}'").replace("$2", f"'{EXCHANGE}'").replace("$3::long", f"{FIRST}L")
        .replace("$4::long", str(DAYS * 1440 * ROWS_A_MINUTE))
    )  # fmt: skip
    await base.close()
    end = FIRST + DAYS * 1440 * time.MINUTE
    for interval in settings.signals.intervals:
        length = time.duration(interval)
        if length < time.MINUTE:
            continue
        begins = range(max(FIRST, end - CLOSED * length), end, length)
        made = {encode(_candle(interval, begin)): begin for begin in begins}
        await redis.zadd(key("footprint", EXCHANGE, SYMBOL, interval, "closed"), dict(made))


async def _timed(redis: Redis, tables: Tables, begin: int, end: int) -> list[float]:
    spent = []
    for _ in range(RUNS + 1):
        began = clocks.perf_counter()
        found = await ranges.profile(redis, tables, EXCHANGE, SYMBOL, begin, end)
        spent.append(1e3 * (clocks.perf_counter() - began))
        assert found.poc is not None
    return spent[1:]  # the first compiles, and opens a connection


async def _bare(settings: Settings) -> float:
    base: asyncpg.Connection = await asyncpg.connect(settings.questdb.pg, user="admin", password="quest")
    spent = []
    for _ in range(RUNS):
        began = clocks.perf_counter()
        await base.fetch(_LIMIT)
        spent.append(1e3 * (clocks.perf_counter() - began))
    await base.close()
    return statistics.median(spent)


def measure(settings: Settings) -> Costs:
    """Fill the table and Redis, then ask. The range begins at no full hour, as ranges do."""

    async def run() -> Costs:
        redis, empty = Redis.from_url(settings.redis.url), Redis.from_url(settings.redis.url[:-1] + "1")
        tables = Tables(settings.questdb.pg)
        await _fill(settings, redis)
        rows = DAYS * 1440 * ROWS_A_MINUTE
        await asyncio.to_thread(until, lambda: _count(settings) >= rows, 60.0)
        begin, end = FIRST + 7 * time.MINUTE, FIRST + DAYS * 1440 * time.MINUTE
        table, mixed = await _timed(empty, tables, begin, end), await _timed(redis, tables, begin, end)
        bare = await _bare(settings)
        tables.close()
        await redis.aclose()
        await empty.aclose()
        return Costs(statistics.median(table), max(table), statistics.median(mixed), max(mixed), bare)

    return asyncio.run(run())


def _count(settings: Settings) -> int:
    return int(asyncio.run(query(settings.questdb.pg, statement("count", table="footprints")))[0][0])
