"""``live:<x>`` is there only while its exchange is heard of, and says how many gaps are open."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis.asyncio as aioredis

from schemas.events import Clock, Event, Gap, Trade, encode
from schemas.names import event_subject
from signals._board import FRESH_US, LIVE_MS, SIGNALS, Board
from signals._decode import Message
from signals._redis import Writer
from tests.conftest import Stack
from tests.signal_streams import MIDNIGHT, Machine

SECOND = 1_000_000
KEY = "live:one:A-B"


def _messages(*made: Event) -> list[Message]:
    return [Message(event_subject(event), encode(event), n + 1) for n, event in enumerate(made)]


def _trade(exchange: str, symbol: str, at: int) -> Trade:
    return Trade(exchange, symbol, at - 7, at, str(at), 97.31, 1.0, 97.31, False)


@pytest.fixture
async def cache(stack: Stack):
    client = aioredis.Redis.from_url(stack.redis_url)
    await client.flushall()
    yield client
    await client.flushall()
    await client.aclose()


async def test_live_keys_are_renewed_only_while_their_exchange_is_fresh_and_expire_by_themselves(cache) -> None:
    machine = Machine()
    machine.feed(_messages(_trade("one", "A-B", MIDNIGHT), _trade("two", "A-B", MIDNIGHT)))
    writer = Writer(cache, "watermark:live-test", 200)
    board = Board(machine.core, writer, SIGNALS)
    await board.live(MIDNIGHT + FRESH_US)
    assert json.loads(await cache.get(KEY)) == {
        "last_trade": MIDNIGHT - 7, "last_received": MIDNIGHT, "gaps_open": 0, "as_of": MIDNIGHT - 7, "sequence": 1,
    }  # fmt: skip
    assert 0 < await cache.pttl(KEY) <= LIVE_MS == 3_000
    # A clock event alone keeps every symbol of its exchange fresh, and no other's.
    machine.feed(_messages(Clock("one", MIDNIGHT + 2 * SECOND, MIDNIGHT + 2 * SECOND)))
    await cache.flushall()
    await board.live(MIDNIGHT + FRESH_US + 1)
    assert await cache.keys("live:*") == [KEY.encode()]
    # Nothing more is heard: the key is not renewed, and is gone when its time is over.
    await cache.flushall()
    await board.live(MIDNIGHT + FRESH_US + 1)
    await board.live(MIDNIGHT + 2 * SECOND + FRESH_US + 1)
    await asyncio.sleep(LIVE_MS / 1_000 + 0.05)
    await board.live(MIDNIGHT + 2 * SECOND + FRESH_US + 1)
    assert await cache.keys("live:*") == []
    await writer.close()


async def test_a_live_key_counts_the_open_gaps_of_its_symbol(cache) -> None:
    machine = Machine()
    machine.feed(_messages(_trade("one", "A-B", MIDNIGHT), _trade("one", "C-D", MIDNIGHT)))
    writer = Writer(cache, "watermark:live-test", 200)
    board = Board(machine.core, writer, SIGNALS)
    for status, revision, count in (("open", 0, 1), ("partial", 1, 1), ("filled", 2, 0)):
        machine.core.learn(
            Gap(
                "one", "A-B", MIDNIGHT, MIDNIGHT, "trades", "1", "2", MIDNIGHT, MIDNIGHT, "skipped", status, 2, 0,
                "", MIDNIGHT + revision, revision,
            )
        )  # fmt: skip
        await board.live(MIDNIGHT)
        assert json.loads(await cache.get(KEY))["gaps_open"] == count
        assert json.loads(await cache.get("live:one:C-D"))["gaps_open"] == 0
    await writer.close()
