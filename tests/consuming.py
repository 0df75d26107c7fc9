"""What the consumers' tests share: a running consumer, events to publish, and waiting for what must come."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from nats.aio.client import Client

from consumers._questdb import QuestdbRefused, QuestdbUnreachable, query
from consumers._run import consume
from schemas import names
from schemas.events import Event, Trade
from schemas.time import MINUTE, floor
from tests.conftest import Stack

PATIENCE_S = 60.0
_numbers = itertools.count(1)


def new_symbol() -> str:
    """A symbol no other test has rows of: the tables live as long as the run."""
    return f"T{next(_numbers)}X{time.time_ns() % 10**9}-USDT"


@cache
def now() -> int:
    """The start of the minute before the first call, in µs: the same for the whole run, whatever minute it reaches."""
    return floor(time.time_ns() // 1000, MINUTE) - MINUTE


def trade(symbol: str, number: int, **fields: Any) -> Trade:
    """Trade ``number`` of a symbol, a millisecond after the one before."""
    known = {
        "exchange": "binance", "symbol": symbol, "timestamp": now() + 1000 * number, "received": now() + 1000 * number,
        "trade_id": str(number), "price": 100.0 + number % 7, "quantity": 0.5, "value": 50.0 + number % 7 / 2,
        "is_buyer_maker": number % 3 == 0,
    }  # fmt: skip
    return Trade(**{**known, **fields})


async def publish(nats: Client, *messages: Event | Sequence[Event], subject: str = "") -> None:
    """Each argument as one message: an event, or several as its lines. Without message ids: copies get through."""
    jetstream = nats.jetstream()
    for message in messages:
        its = list(message) if isinstance(message, Sequence) else [message]
        await jetstream.publish(subject or names.event_subject(its[0]), names.payload(its))


@asynccontextmanager
async def consuming(stack: Stack, nats: Client, *words: str) -> AsyncIterator[dict[str, Any]]:
    """``flowtape consume`` in this process; yields its health, keyed by table."""
    stop, health = asyncio.Event(), {}
    task = asyncio.create_task(consume(list(words), stack.settings, nats, stop, health))
    await asyncio.sleep(0)
    try:
        yield health
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], Awaitable[Any]], what: str = "") -> Any:
    """The first true answer; fails when none comes."""
    end = time.monotonic() + PATIENCE_S
    answer = None
    while time.monotonic() < end:
        answer = await condition()
        if answer:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"did not come true: {what or condition} (last: {answer!r})")


async def rows(stack: Stack, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """A query's rows; none while QuestDB is away."""
    try:
        return await query(stack.questdb_pg, sql, *values)
    except (QuestdbUnreachable, QuestdbRefused):
        return []


async def until_rows(stack: Stack, count: int, table: str, symbol: str) -> None:
    """Wait until a table shows ``count`` rows of a symbol."""

    async def enough() -> bool:
        found = await rows(stack, f"SELECT count() FROM {table} WHERE symbol = $1", symbol)
        return bool(found) and found[0][0] >= count

    await until(enough, f"{count} rows of {symbol} in {table}")


async def until_health(health: dict[str, Any], table: str, **counts: Any) -> None:
    """Wait until a table's counters have these values."""

    async def reached() -> bool:
        its = health.get("tables", {}).get(table, {})
        return all(its.get(name) == count for name, count in counts.items())

    try:
        await until(reached)
    except AssertionError as error:
        raise AssertionError(f"{table}: wanted {counts}, have {health}") from error


async def dead_letters(nats: Client) -> list[tuple[str, bytes, str]]:
    """Subject, bytes and reason of everything in the dead letters' stream."""
    jetstream = nats.jetstream()
    state = (await jetstream.stream_info(names.STREAM_DEAD)).state
    letters = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await jetstream.get_msg(names.STREAM_DEAD, seq=sequence)
        letters.append((message.subject or "", message.data or b"", (message.headers or {})[names.HEADER_REASON]))
    return letters
