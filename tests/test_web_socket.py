"""The socket: values as they change, resumed by sequence, nothing missed where nothing may be missed."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
import msgspec
import pytest
import redis.asyncio as aioredis

from flowtape import bus
from schemas.names import signal_subject
from tests.conftest import Stack
from tests.webbing import serving

X = "sim_socket:A-B"
OPEN, CLOSED, LIVE = f"footprint:{X}:1m", f"footprint:{X}:1m:closed", f"live:{X}"
SUBJECT = signal_subject("footprint", "sim_socket", "A-B", "1m")


@pytest.fixture
async def cache(migrated: Stack):
    client = aioredis.Redis.from_url(migrated.redis_url)
    yield client
    await client.delete(OPEN, CLOSED, LIVE)
    await client.aclose()


@pytest.fixture
async def site(migrated: Stack, cache, tmp_path):
    async with serving(migrated, tmp_path) as it:
        yield it


def candle(timestamp: int, sequence: int, complete: bool = True) -> bytes:
    """As much of a candle as the server looks at."""
    return msgspec.json.encode({"timestamp": timestamp, "complete": complete, "sequence": sequence})


async def write(cache, key: str, value: bytes, sequence: int, score: int | None = None) -> None:
    """As the signal engine writes: the value, then the announcement."""
    async with cache.pipeline() as pipe:
        if score is None:
            pipe.set(key, value)
        else:
            pipe.zremrangebyscore(key, score, score)
            pipe.zadd(key, {value: score})
        pipe.publish(key, sequence)
        await pipe.execute()


class Ear:
    """A socket, and the values of keys it was told."""

    def __init__(self, ws):
        self.ws = ws

    async def subscribe(self, *keys: str, **more) -> None:
        await self.ws.send_json({"op": "subscribe", "keys": list(keys), **more})
        async with asyncio.timeout(20):
            while (await self.next_any()).get("op") != "subscribed":
                pass

    async def next_any(self) -> dict:
        return await asyncio.wait_for(self.ws.receive_json(), 20)

    async def next(self, key: str) -> dict:
        """The next message about a key."""
        while (message := await self.next_any()).get("key") != key:
            pass
        return message


@pytest.fixture
async def ear(site):
    async with site.client.ws_connect(site.url + "/ws") as ws:
        yield Ear(ws)


async def test_a_key_is_told_now_and_at_every_change(ear: Ear, cache) -> None:
    await write(cache, OPEN, candle(60, 5), 5)
    await ear.ws.send_json({"op": "subscribe", "keys": [OPEN]})
    assert await ear.next(OPEN) == {
        "key": OPEN,
        "sequence": 5,
        "value": {"timestamp": 60, "complete": True, "sequence": 5},
    }
    await write(cache, OPEN, candle(60, 6), 6)
    assert (await ear.next(OPEN))["sequence"] == 6
    await ear.ws.send_json({"op": "unsubscribe", "keys": [OPEN]})
    while (await ear.next_any()).get("op") != "unsubscribed":
        pass
    await write(cache, OPEN, candle(60, 7), 7)
    await ear.ws.send_json({"op": "ping"})
    while (message := await ear.next_any()).get("op") != "pong":
        assert message.get("key") != OPEN


@pytest.mark.parametrize(("since", "told"), [(4, [5]), (5, []), (900, [5]), (None, [5])])
async def test_resuming_sends_a_value_unless_it_is_the_one_known(ear: Ear, cache, since, told) -> None:
    await write(cache, OPEN, candle(60, 5), 5)
    await ear.ws.send_json({"op": "subscribe", "keys": [OPEN], **({} if since is None else {"since": since})})
    await write(cache, LIVE, b'{"sequence":1}', 1)
    await ear.ws.send_json({"op": "subscribe", "keys": [LIVE]})
    seen = []
    while (message := await ear.next_any()).get("key") != LIVE:
        seen += [message["sequence"]] if message.get("key") == OPEN else []
    assert seen == told


async def test_closed_candles_missed_during_a_drop_come_and_so_do_revisions_and_badges(ear: Ear, cache) -> None:
    for n, (sequence, complete) in enumerate([(10, True), (20, True), (30, False), (40, True)]):
        await write(cache, CLOSED, candle(60 * n, sequence, complete), sequence, 60 * n)
    await ear.ws.send_json({"op": "subscribe", "keys": [CLOSED], "since": 30})
    assert [(await ear.next(CLOSED))["sequence"] for _ in range(2)] == [30, 40]
    await write(cache, CLOSED, candle(0, 50), 50, 0)
    assert (await ear.next(CLOSED))["value"]["timestamp"] == 0
    await write(cache, CLOSED, candle(120, 30, True), 30, 120)
    message = await ear.next(CLOSED)
    assert (message["value"]["timestamp"], message["value"]["complete"]) == (120, True)


async def test_a_key_that_goes_is_told_as_null(ear: Ear, cache) -> None:
    await cache.set(LIVE, b'{"last_trade":1,"sequence":3}', px=300)
    await ear.subscribe(LIVE)
    while (await ear.next(LIVE))["value"] is not None:
        pass
    await cache.set(LIVE, b'{"last_trade":2,"sequence":4}', px=30_000)
    assert (await ear.next(LIVE))["value"]["last_trade"] == 2


async def test_a_slow_client_misses_values_but_never_the_newest(ear: Ear, cache) -> None:
    await ear.subscribe(OPEN)
    for sequence in range(1, 301):
        await write(cache, OPEN, candle(60, sequence), sequence)
    seen = []
    while not seen or seen[-1] != 300:
        message = await ear.next(OPEN)
        seen += [message["sequence"]] if message["value"] else []
    assert seen == sorted(set(seen))


async def test_a_subject_goes_on_exactly_behind_since(ear: Ear, site, migrated: Stack) -> None:
    nats = await bus.connect(migrated.settings, "signal")
    context = nats.jetstream()
    sequences = []
    for n in range(5):
        sequences.append((await context.publish(SUBJECT, b'{"n":%d}' % n)).seq)
        await context.publish(SUBJECT.replace("A-B", "C-D"), b'{"n":-1}')
    await ear.subscribe(SUBJECT, since=sequences[1])
    assert [(m["sequence"], m["value"]["n"]) for m in [await ear.next(SUBJECT) for _ in range(3)]] == [
        (sequences[2], 2), (sequences[3], 3), (sequences[4], 4),
    ]  # fmt: skip
    async with site.client.ws_connect(site.url + "/ws") as second:
        other = Ear(second)
        await other.subscribe("sig.footprint.sim_socket.*.1m")
        await asyncio.sleep(0)
        seen = None
        while seen is None:  # from now on: until its consumer is there, what is published is not for it
            last = (await context.publish(SUBJECT, b'{"n":5}\n{"n":6}')).seq
            try:
                seen = await asyncio.wait_for(other.next("sig.footprint.sim_socket.*.1m"), 0.5)
            except TimeoutError:
                continue
        assert seen["sequence"] <= last
        assert (seen["value"]["n"], (await other.next("sig.footprint.sim_socket.*.1m"))["value"]["n"]) == (5, 6)
    await nats.close()


async def test_a_redis_that_was_away_is_followed_again(migrated: Stack, ear: Ear, cache) -> None:
    await write(cache, OPEN, candle(60, 5), 5)
    await ear.subscribe(OPEN)
    pid = migrated.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(aioredis.TimeoutError):
            await aioredis.Redis.from_url(migrated.redis_url, socket_timeout=0.2).get(OPEN)
    finally:
        os.kill(pid, signal.SIGCONT)
    await cache.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await write(cache, OPEN, candle(60, 6), 6)
    async with asyncio.timeout(30):
        while (await ear.next(OPEN))["sequence"] != 6:
            pass


async def test_a_server_that_stops_says_goodbye(migrated: Stack, tmp_path) -> None:
    async with aiohttp.ClientSession() as client:
        async with serving(migrated, tmp_path) as site:
            ws = await client.ws_connect(site.url + "/ws")
        while (message := await ws.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == 1001
