"""How fast the table consumer empties a full log into QuestDB, beside QuestDB fed alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from questdb import Sender, TimestampMicros

from benchmarks._stack import process
from benchmarks.publish import fill, trades
from consumers._questdb import query, statement
from flowtape import bus
from flowtape.migrate import provision
from schemas.settings import Settings

SECONDS_MAX = 120.0
_TABLE = "CREATE TABLE alone AS (SELECT * FROM trades) TIMESTAMP(timestamp) PARTITION BY DAY"


def alone(settings: Settings, count: int) -> float:
    """Rows a second of the client library into the same kind of table, batches of 10,000."""
    asyncio.run(
        query(settings.questdb.pg, "CREATE TABLE alone AS (SELECT * FROM trades) TIMESTAMP(timestamp) PARTITION BY DAY")
    )
    made = trades(count, 0)
    began = time.perf_counter()
    sender: Any  # its stub knows no microseconds
    with Sender.from_conf(f"http::addr={settings.questdb.http.removeprefix('http://')};auto_flush=off;") as sender:
        for start in range(0, count, 10_000):
            for t in made[start : start + 10_000]:
                sender.row(
                    "alone",
                    symbols={"symbol": t.symbol, "exchange": t.exchange},
                    columns={
                        "price": t.price, "quantity": t.quantity, "is_buyer_maker": t.is_buyer_maker,
                        "trade_id": t.trade_id, "value": t.value, "fills": t.fills,
                    },
                    at=TimestampMicros(t.timestamp),
                )  # fmt: skip
            sender.flush()
    return count / (time.perf_counter() - began)


def measure(settings: Settings, count: int) -> tuple[float, float, float]:
    """QuestDB alone, drained from one-event messages, drained from coalesced ones: rows a second."""

    async def filled(first: int, many: int, *, together: bool) -> None:
        nats = await bus.connect(settings, "admin")
        await fill(nats, many, first, together=together)
        await nats.close()

    asyncio.run(provision(settings, lambda _line: None))
    limit = alone(settings, count)
    asyncio.run(filled(0, count, together=False))
    single = _drained(settings, count, count)
    asyncio.run(filled(10**9, 4 * count, together=True))
    return limit, single, _drained(settings, 5 * count, 4 * count)


def _drained(settings: Settings, total: int, count: int) -> float:
    """``count`` over the time from the first new row to the last, while a consumer runs until ``total`` are there."""

    async def watch() -> float:
        before = (await query(settings.questdb.pg, statement("count", table="trades")))[0][0]
        deadline, began, first, rows = time.monotonic() + SECONDS_MAX, 0.0, 0, before
        while rows < total:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{rows:,} of {total:,} rows")
            await asyncio.sleep(0.02)
            rows = (await query(settings.questdb.pg, statement("count", table="trades")))[0][0]
            if rows > before and not began:
                began, first = time.perf_counter(), rows
        return (total - first) / (time.perf_counter() - began) if total > first else float(count)

    with process(settings, "-m", "flowtape", "consume", "trades"):
        return asyncio.run(watch())
