"""Durable publishing against a real nats-server, which is killed, emptied and filled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from producers._lanes import SKEW_US, Lanes
from producers._outbox import Outbox
from producers._spool import Spool
from schemas import names
from schemas.events import Book, Clock, Gap
from schemas.names import HEADER_EVENTS, HEADER_ID, HEADER_ORIGIN, HEADER_REASON
from tests.producing import NOW, NatsServer, nats_server, stored, trade, trade_ids, until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    with nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    client = await server.connect()
    await server.streams(client)
    yield client
    await client.close()


def outbox(client: Client, folder: Path, *, spool: int = 1 << 30, memory: int = 64 << 20, **more: int) -> Outbox:
    return Outbox(
        client, Spool(folder, "binance-test", spool), memory=memory, clock=lambda: NOW, monotonic=time.monotonic,
        sleep=asyncio.sleep, **more,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(box: Outbox, close_s_max: float = 20.0) -> AsyncIterator[Outbox]:
    task = asyncio.create_task(box.run())
    try:
        yield box
    finally:
        box.stop()
        await task
        await box.close(close_s_max)


def _spools(folder: Path) -> list[Path]:
    return list(folder.glob("*.spool"))


async def test_one_event_is_one_message_with_its_id_and_order_per_symbol_is_kept(
    client: Client, tmp_path: Path
) -> None:  # fmt: skip
    async with running(outbox(client, tmp_path, together_above=1 << 30)) as box:
        for number in range(500):
            box.add(trade(number))
            box.add(trade(number, "ETH-USDT"))
        await until(lambda: box.idle)
    messages = await stored(client, "MD_TRADE")
    assert len(messages) == 1_000
    assert all(HEADER_EVENTS not in message.headers for message in messages)
    assert messages[0].headers[HEADER_ID] == "binance:BTC-USDT:0"
    assert trade_ids(messages) == trade_ids(messages, "ETH-USDT") == list(range(500))
    assert box.counts["events"] == 1_000


async def test_what_falls_behind_is_put_together_in_order(client: Client, tmp_path: Path) -> None:
    async with running(outbox(client, tmp_path)) as box:
        for number in range(20_000):
            box.add(trade(number))
    messages = await stored(client, "MD_TRADE")
    assert trade_ids(messages) == list(range(20_000))
    assert len(messages) < 1_000
    assert sum(int(message.headers.get(HEADER_EVENTS, "1")) for message in messages) == 20_000
    assert max(len(message.data) for message in messages) <= 256_000


async def test_history_goes_many_in_one_message_and_behind_what_is_live(client: Client, tmp_path: Path) -> None:
    async with running(outbox(client, tmp_path)) as box:
        for number in range(3_000):
            box.add_bulk(trade(number * 60_000_000))  # a minute apart: nothing takes turns with them
        for number in range(40):
            box.add(trade(number, "ETH-USDT"))
        told = box.fence()
        assert not told()
        await until(told)
        assert box.idle
    messages = await stored(client, "MD_TRADE")
    live = [place for place, message in enumerate(messages) if HEADER_EVENTS not in message.headers]
    assert live == list(range(40))
    assert trade_ids(messages) == [number * 60_000_000 for number in range(3_000)]
    assert len(messages) == 40 + 6


async def test_history_that_waits_when_the_outbox_closes_without_a_log_is_sent_by_the_next_one(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    box = outbox(client, tmp_path)
    for number in range(1_000):
        box.add_bulk(trade(number))
    await box.close(0.0)
    assert _spools(tmp_path)
    async with running(outbox(client, tmp_path)) as again:
        await until(lambda: again.idle)
    assert trade_ids(await stored(client, "MD_TRADE")) == list(range(1_000))


async def test_large_events_are_put_together_within_the_message_bound(client: Client, tmp_path: Path) -> None:
    levels = [(100_000.123456 + n, 1.23456789 + n) for n in range(200)]
    async with running(outbox(client, tmp_path, together_above=2)) as box:
        for number in range(300):
            box.add(Book("binance", "BTC-USDT", NOW + number, NOW, number, levels, levels))
    messages = await stored(client, "MD_BOOK")
    assert sum(int(message.headers.get(HEADER_EVENTS, "1")) for message in messages) == 300
    assert 1 < len(messages) < 300
    assert max(len(message.data) for message in messages) < 300_000


async def test_two_producers_of_the_same_trades_leave_each_once(client: Client, tmp_path: Path) -> None:
    first = outbox(client, tmp_path / "a", together_above=1 << 30)
    second = outbox(client, tmp_path / "b", together_above=1 << 30)
    async with running(first), running(second):
        for number in range(1_000):
            first.add(trade(number))
            second.add(trade(number))
    assert sorted(trade_ids(await stored(client, "MD_TRADE"))) == list(range(1_000))
    assert first.counts["duplicates"] + second.counts["duplicates"] == 1_000


async def _kill_twice(server: NatsServer) -> None:
    for _ in range(2):
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.2)
        server.start()


async def test_the_log_killed_twice_in_the_middle_loses_and_doubles_nothing(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(outbox(client, tmp_path, together_above=1 << 30)) as box:
        kills = asyncio.create_task(_kill_twice(server))
        count = 0
        while not kills.done():
            for _ in range(30):
                box.add(trade(count))
                count += 1
            await asyncio.sleep(0.003)
        await until(lambda: box.idle, 60.0)
    ids = trade_ids(await stored(client, "MD_TRADE"))
    assert len(ids) == len(set(ids)) == count
    assert client.stats["reconnects"] >= 2, "not run: the log was not away twice"
    assert box.counts["dropped"] == 0


async def test_while_the_log_is_away_events_go_to_disk_and_come_back_in_order(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(outbox(client, tmp_path)) as box:
        box.add(trade(0))
        await until(lambda: box.idle)
        server.kill()
        for number in range(1, 3_001):
            box.add(trade(number))
            if number % 1_000 == 0:
                await asyncio.sleep(0.8)
        await until(lambda: box.counts["spooled"] > 0)
        server.start()
        await until(lambda: box.idle, 60.0)
        for number in range(3_001, 3_011):
            box.add(trade(number))
    assert trade_ids(await stored(client, "MD_TRADE")) == list(range(3_011))
    assert not _spools(tmp_path)


async def test_what_is_left_at_a_shutdown_without_log_is_sent_by_the_next_run(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    box = outbox(client, tmp_path)
    async with running(box):
        server.kill()
        await until(lambda: not client.is_connected)
        for number in range(5_000):
            box.add(trade(number))
    assert _spools(tmp_path)
    server.start()
    await until(lambda: client.is_connected)
    async with running(outbox(client, tmp_path)) as again:
        for number in range(5_000, 5_100):
            again.add(trade(number))
        await until(lambda: again.idle)
    assert trade_ids(await stored(client, "MD_TRADE")) == list(range(5_100))


async def test_what_the_spool_cannot_take_becomes_a_gap_that_says_what_is_missing(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(outbox(client, tmp_path, spool=50_000)) as box:
        server.kill()
        await until(lambda: not client.is_connected)
        for number in range(20_000):
            box.add(trade(number))
            if number % 2_000 == 0:
                await asyncio.sleep(0.2)
        await until(lambda: box.counts["dropped"] > 0)
        server.start()
        await until(lambda: box.idle, 60.0)
    (letter,) = await stored(client, "MD_GAP")
    gap = msgspec.json.decode(letter.data, type=Gap)
    ids = trade_ids(await stored(client, "MD_TRADE"))
    assert gap.expected is not None
    assert (gap.cause, gap.status, gap.channel, gap.symbol) == ("spool_full", "open", "trades", "BTC-USDT")
    assert len(ids) + gap.expected == 20_000
    assert set(range(20_000)) - set(ids) <= set(range(int(gap.from_id or 0), int(gap.to_id or 0) + 1))


async def test_events_for_a_stream_that_is_missing_wait_until_it_is_there(server: NatsServer, tmp_path: Path) -> None:
    client = await server.connect()
    async with running(outbox(client, tmp_path)) as box:
        for number in range(300):
            box.add(trade(number))
        await asyncio.sleep(0.3)
        assert box.counts["published"] == 0
        await server.streams(client)
        await until(lambda: box.idle)
    assert sorted(trade_ids(await stored(client, "MD_TRADE"))) == list(range(300))
    await client.close()


async def test_a_message_the_log_will_never_take_is_dropped_with_a_gap_and_the_rest_goes_on(
    server: NatsServer, tmp_path: Path
) -> None:
    client = await server.connect()
    await server.streams(client, max_msg_size=2_000)
    levels = [(100.0 + n, 1.0) for n in range(500)]
    async with running(outbox(client, tmp_path)) as box:
        box.add(Book("binance", "BTC-USDT", NOW, NOW, 1, levels, levels))
        box.add(trade(1))
        await until(lambda: box.idle)
    assert box.counts["refused"] == 1
    assert trade_ids(await stored(client, "MD_TRADE")) == [1]
    (letter,) = await stored(client, "MD_GAP")
    assert msgspec.json.decode(letter.data, type=Gap).channel == "books"
    await client.close()


async def test_the_clock_follows_everything_that_came_before_it(client: Client, tmp_path: Path) -> None:
    async with running(outbox(client, tmp_path, window=64)) as box:
        for number in range(5_000):
            box.add(trade(number))
        box.tick(Clock("binance", NOW, NOW))
        box.tick(Clock("binance", NOW + 1, NOW))
        await until(lambda: box.idle)
    messages = await stored(client, "MD_TRADE")
    assert [m.subject for m in messages].index(names.clock_subject("binance")) == len(messages) - 1
    assert msgspec.json.decode(messages[-1].data, type=Clock).timestamp == NOW + 1


async def test_quarantined_bytes_arrive_unchanged_with_reason_and_origin(client: Client, tmp_path: Path) -> None:
    raw = bytes(range(256))
    async with running(outbox(client, tmp_path)) as box:
        box.dead("trade", "binance", raw, "nicht lesbar: é\r\nX-Evil: 1", "ws://host/stream")
        box.dead("frame", "binance", b"x" * 900_000, "huge", "ws://host/stream")
        await until(lambda: box.idle)
    first, second = await stored(client, "MD_DEAD")
    assert (first.subject, first.data) == ("md.dead.trade.binance", raw)
    assert first.headers[HEADER_REASON] == "nicht lesbar: \\xe9  X-Evil: 1"
    assert first.headers[HEADER_ORIGIN] == "ws://host/stream"
    assert "X-Evil" not in first.headers
    assert len(second.data) == 256_000
    assert "cut from 900000 bytes" in second.headers[HEADER_REASON]


async def test_a_dead_letter_whose_answer_is_late_is_stored_once_and_equal_ones_are_stored_each(
    server: NatsServer, client: Client, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("producers._outbox.ANSWER_S_MAX", 0.2)
    async with running(outbox(client, tmp_path)) as box:
        server.freeze()
        for raw in (b"one", b"one", b"another"):
            box.dead("frame", "binance", raw, "unreadable", "ws://host/stream")
        await until(lambda: box.counts["resent"] >= 6)
        server.thaw()
        await until(lambda: box.idle)
    assert [letter.data for letter in await stored(client, "MD_DEAD")] == [b"one", b"one", b"another"]


def test_an_event_added_while_its_lane_is_being_sent_leaves_once_and_last() -> None:
    lanes = Lanes()
    for number in (1, 2):
        lanes.add(trade(number))
    sent = []
    for message in lanes.cut(10, together=False):
        sent.append(message)
        if len(sent) == 1:
            lanes.add(trade(3))
    sent += lanes.cut(10, together=False)
    assert [message.first for message in sent] == [trade(n) for n in (1, 2, 3)]
    assert lanes.waiting == 0
    lanes.add(trade(4))
    assert [message.first for message in lanes.cut(10, together=False)] == [trade(4)]


def test_lanes_take_turns_so_that_no_symbol_runs_ahead_in_time() -> None:
    from producers._lanes import Lanes
    from schemas.events import Trade

    lanes = Lanes()
    for symbol in ("A-B", "C-D", "E-F"):
        for i in range(400):
            at = 1_723_161_240_000_000 + i * 50_000
            lanes.add(Trade("binance", symbol, at, at, str(i), 1.0, 1.0, 1.0, True))
    latest = 0
    for message in lanes.cut(10_000, together=True):
        assert message.first.timestamp >= latest - SKEW_US
        latest = max(latest, message.last.timestamp)
    assert lanes.waiting == 0
