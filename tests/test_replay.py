"""A replay is the past once more: everything in the order it came in, and what is computed of it is what was live."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio as aioredis
from click.testing import CliRunner
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.progress import Progress

from consumers._questdb import Questdb
from flowtape import bus, history
from flowtape.cli import cli
from flowtape.history import Past, merged, past
from flowtape.ordered import Letter, Ordered
from flowtape.replay import Order, Pass, replay
from schemas import events, instruments, names
from schemas.events import Book, Event, Funding, Gap, Kline, Liquidation, OpenInterest, Trade
from schemas.settings import Settings
from schemas.time import HOUR, MINUTE, SECOND
from signals import _run
from signals._prefixed import Prefixed
from signals._replayed import compute
from signals._stream import PULL
from tests.conftest import Stack, own_migrated
from tests.consuming import consuming, new_symbol, now, publish, trade, until, until_rows
from tests.signal_streams import SYMBOLS, instrument, messages, stream

PREFIX = "again"
DAYS = 40 * 24 * HOUR


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Stack:
    return stack


@pytest.fixture
async def nats(nats: Client) -> AsyncIterator[Client]:
    """That of all tests; what a test has replayed is taken away again."""
    yield nats
    for name in (names.replay_stream(PREFIX), names.replay_signals(PREFIX)):
        with contextlib.suppress(NotFoundError):
            await nats.jetstream().delete_stream(name)


def _order(begin: int, end: int, **fields: Any) -> Order:
    return Order(
        **{"prefix": PREFIX, "begin": begin, "end": end, "speed": 0.0, "bytes_max": 10**8, "again": False, **fields}
    )


async def _stored(nats: Client, name: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """Subject, payload and headers of everything in a stream."""
    context = nats.jetstream()
    state = (await context.stream_info(name)).state
    found = [await context.get_msg(name, seq=n) for n in range(state.first_seq, state.last_seq + 1)]
    return [(message.subject or "", message.data or b"", message.headers or {}) for message in found]


# --- live = replay -----------------------------------------------------------------------------------------------
def _computed(found: dict[bytes, Any]) -> dict[bytes, Any]:
    """Of the market ``stream`` makes, without what tells of our own time."""
    return {name: value for name, value in found.items() if b":one:" in name or b":two:" in name}


async def _keys(cache: aioredis.Redis, prefix: bytes) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for name in await cache.keys(prefix + b"*"):
        own = name.removeprefix(prefix)
        if own.startswith((b"live:", b"watermark:", PREFIX.encode())):
            continue
        if await cache.type(name) == b"zset":
            found[own] = await cache.zrange(name, 0, -1, withscores=True)
        elif await cache.type(name) == b"string":
            found[own] = await cache.get(name)
    return _computed(found)


async def _computing(settings: Settings, cache: aioredis.Redis, last: int) -> None:
    """The live engine, until Redis has the state of ``last``."""
    connection = await bus.connect(settings, "signal")
    stop = asyncio.Event()
    work = asyncio.create_task(_run.signal([], settings, connection, cache, stop, {}))

    async def reached() -> bool:
        return int(await cache.hget("watermark:redis-footprint", "sequence") or 0) >= last

    await until(reached, "the live engine")
    await asyncio.sleep(3)  # what is made of other keys looks at them once a second
    stop.set()
    await work
    await connection.close()


async def test_keys_and_candles_of_a_replay_are_those_of_live_byte_for_byte(
    stack: Stack, nats: Client, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(stack.settings, data_dir=str(tmp_path))
    cache = aioredis.Redis.from_url(stack.redis_url)
    await cache.flushall()
    bucket = await nats.jetstream().key_value("instruments")
    for who in SYMBOLS:
        await bucket.put(".".join(who), instruments.encode(instrument(*who)))
    # Received one after the other, as a socket would have it; all else as wild as it comes.
    made = [msgspec.structs.replace(event, received=now() + 1000 * n) for n, event in enumerate(stream(41, 2_500))]
    hole = next(event for event in made if isinstance(event, Trade) and event.symbol == "A-B")
    since = hole.timestamp
    gap = Gap(
        "one", "A-B", since, now(), "trades", "5", "9", since, since + MINUTE, "skipped", "open", 5, 0, "",
        now(),
    )  # fmt: skip
    sent = messages(made, 41)
    last = (await nats.jetstream().stream_info("MD_TRADE")).state.last_seq + len(sent)
    for message in sent:
        await nats.publish(message.subject, message.payload)
    await publish(nats, gap)
    await _computing(settings, cache, last)
    live = await _keys(cache, b"")
    assert len(live) > 20, "not run: nothing was computed"
    assert any('"complete":false' in repr(value) for value in live.values())

    assert await replay(settings, _order(now(), now() + 1000 * len(made) + 1)) == 0
    connection = await bus.connect(settings, "signal")
    health: dict[str, Any] = {}
    async with asyncio.timeout(60):  # it ends by itself
        await compute(PREFIX, [], settings, connection, cache, asyncio.Event(), health)
    await connection.close()
    replayed = await _keys(cache, f"{PREFIX}:".encode())
    assert replayed.keys() == live.keys()
    for name, value in live.items():
        assert replayed[name] == value, name
    assert health["sequence"] == last

    told = [entry for entry in await _stored(nats, "SIGNALS") if ".one." in entry[0] or ".two." in entry[0]]
    again = [
        entry
        for entry in await _stored(nats, names.replay_signals(PREFIX))
        if ".one." in entry[0] or ".two." in entry[0]
    ]
    assert told
    assert {(f"{PREFIX}.{s}", p) for s, p, _ in told} >= {(s, p) for s, p, _ in again}
    assert {s for s, *_ in again} == {f"{PREFIX}.{s}" for s, *_ in told}
    for who in SYMBOLS:
        await bucket.purge(".".join(who))
    await cache.aclose()


# --- history -----------------------------------------------------------------------------------------------------
def _all_kinds(symbol: str, start: int) -> list[Event]:
    """Eight minutes of every kind, each second something, in order of receipt."""
    made: list[Event] = []
    for n in range(480):
        at = start + n * SECOND
        common = ("okx", symbol, at, at + 200_000)
        made.append(trade(symbol, n, exchange="okx", timestamp=at, received=at + 200_000))
        if n % 4 == 0:
            levels = [(100.0 - k, 1.5 + k) for k in range(3)]
            made.append(Book(*common, n, levels, [] if n % 8 else [(101.0, 2.0)]))
        if n % 60 == 0:
            made += [
                Kline("okx", symbol, at - MINUTE, at + 250_000, "1m", 1.0, 2.0, 0.5, 1.5, 3.0, 4.0, None, "ws", 0),
                OpenInterest("okx", symbol, at, at + 260_000, 12.5, None),
                Funding("okx", symbol, at, at + 270_000, 0.0001, 8.0, at + HOUR, 100.0, None),
                Liquidation("okx", symbol, at, at + 280_000, f"l{n}", "long", 100.0, 0.5, 50.0, "all"),
                Gap("okx", symbol, at, at + 290_000, "trades", str(n), None, at, at + 1, "skipped", "open", None, 0, "",
                    at, 0),
            ]  # fmt: skip
    return made


async def _past(stack: Stack, nats: Client, symbol: str, begin: int, end: int) -> list[tuple[Past, Event]]:
    tables = [Questdb(stack.questdb_pg) for _ in names.WORDS]
    found = [it async for batch in past(nats, tables, begin, end) for it in batch]
    for table in tables:
        await table.close()
    return [(it, events.decode_any(it.payload)) for it in found if it.subject.split(".")[3] == symbol]


async def test_what_the_streams_lost_comes_from_the_tables_each_event_once_and_in_order(
    stack: Stack, nats: Client
) -> None:
    symbol, start = new_symbol(), now() - DAYS // 10
    made = _all_kinds(symbol, start)
    words = [word.channel for word in names.WORDS]
    async with consuming(stack, nats, *words):
        await publish(nats, *made)
        for word in names.WORDS:
            await until_rows(stack, sum(events.kind(e) == word.kind for e in made), word.channel, symbol)
    context = nats.jetstream()
    for word in names.WORDS:  # the older half is gone, all of it in the case of funding
        state = (await context.stream_info(word.stream)).state
        await context.purge_stream(word.stream, seq=(state.first_seq + state.last_seq) // 2 + 1)
    await context.purge_stream(names.WORD["funding"].stream)
    found = await _past(stack, nats, symbol, start, start + 480 * SECOND)
    assert [it.at for it, _ in found] == sorted(it.at for it, _ in found)
    assert all(it.at == event.received for it, event in found)
    wanted = {msgspec.json.encode(e): 1 for e in made}
    assert sorted(msgspec.json.encode(event) for _, event in found) == sorted(wanted)
    sequences = [it.sequence for it, event in found if isinstance(event, Trade)]
    assert sequences == sorted(sequences)
    at = start + 100 * SECOND + 200_000
    part = await _past(stack, nats, symbol, at, at + 1)
    assert [event for _, event in part] == [event for it, event in found if it.at == at]


async def test_a_window_inside_the_stream_is_found_without_reading_what_lies_before(stack: Stack, nats: Client) -> None:
    found = history.StreamFacts("", 1, 0)
    assert await history.first_after(nats, "MD_TRADE", found, now()) == 1
    symbol = new_symbol()
    await publish(nats, *(trade(symbol, n) for n in range(10)))
    found = await history.facts(nats, "MD_TRADE")
    assert await history.first_after(nats, "MD_TRADE", found, 0) == found.first
    assert await history.first_after(nats, "MD_TRADE", found, now() + DAYS) == found.last + 1


async def test_sources_are_merged_by_receipt_and_each_keeps_its_own_order() -> None:
    async def source(name: str, *batches: list[int]) -> AsyncIterator[list[Past]]:
        for batch in batches:
            yield [Past(at, name, b"", n, name) for n, at in enumerate(batch)]

    sources = [source("a", [1, 4, 4], [], [9]), source("b", [], [2, 3, 5]), source("c"), source("d", [4, 10])]
    found = [(it.at, it.stream) async for batch in merged(sources) for it in batch]
    assert [at for at, _ in found] == [1, 2, 3, 4, 4, 4, 5, 9, 10]
    assert sorted(found) == sorted(
        [(1, "a"), (4, "a"), (4, "a"), (9, "a"), (2, "b"), (3, "b"), (5, "b"), (4, "d"), (10, "d")]
    )


# --- publishing --------------------------------------------------------------------------------------------------
class _Lossy:
    """A connection that loses some of what is sent, and remembers that it did."""

    def __init__(self, nats: Client) -> None:
        self._nats, self.sent, self.lost = nats, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nats, name)

    async def _send_command(self, data: bytes) -> None:
        self.sent += 1
        if self.sent in (2, 5):
            self.lost += 1
            return
        await self._nats._send_command(data)


async def test_what_is_lost_on_the_way_is_sent_again_and_nothing_is_stored_twice_or_out_of_order(
    nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowtape.ordered.ANSWER_S_MAX", 0.3)
    await nats.jetstream().add_stream(name=names.replay_stream(PREFIX), subjects=[f"{PREFIX}.md.>"])
    lossy = _Lossy(nats)
    outbox = Ordered(lossy, names.replay_stream(PREFIX))  # type: ignore[arg-type]
    await outbox.open()
    for first in range(0, 100, 10):
        await outbox.send([Letter(f"{PREFIX}.md.x", b"%d" % n, {"N": str(n)}) for n in range(first, first + 10)])
    await outbox.settle()
    assert lossy.lost == 2, "not run: nothing was lost"
    stored = await _stored(nats, names.replay_stream(PREFIX))
    assert [(payload, headers["N"]) for _, payload, headers in stored] == [(b"%d" % n, str(n)) for n in range(100)]


async def test_a_replay_ends_with_its_marker_and_does_not_replace_another_by_itself(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    await publish(nats, *(trade(symbol, n) for n in range(20)))
    order = _order(now(), now() + 10_000)
    assert await replay(stack.settings, order) == 0
    assert await replay(stack.settings, order) == 2
    assert await replay(stack.settings, order._replace(again=True, end=now() + 5_000)) == 0
    *replayed, (subject, payload, _) = await _stored(nats, names.replay_stream(PREFIX))
    end = msgspec.json.decode(payload)
    assert subject == f"{PREFIX}.md.end"
    assert (end["from"], end["to"], end["messages"], end["kinds"]) == (now(), now() + 5_000, 5, {"trade": 5})
    assert [events.decode_any(payload) for _, payload, _ in replayed] == [trade(symbol, n) for n in range(5)]
    assert {subject for subject, *_ in replayed} == {f"{PREFIX}.md.trade.binance.{symbol}"}


async def test_speed_is_that_of_receipt_times_n(stack: Stack, nats: Client) -> None:
    symbol, slept = new_symbol(), list[float]()
    await publish(nats, *(trade(symbol, n, received=now() + n * SECOND) for n in range(11)))
    await nats.jetstream().add_stream(name=names.replay_stream(PREFIX), subjects=[f"{PREFIX}.md.>"])

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    outbox = Ordered(nats, names.replay_stream(PREFIX))
    await outbox.open()
    order = _order(now(), now() + 11 * SECOND, speed=4.0)
    run = Pass(order, nats, outbox, Progress(console=Console(quiet=True)), monotonic=lambda: sum(slept), sleep=sleep)
    tables = [Questdb(stack.questdb_pg) for _ in names.WORDS]
    assert (await run.run(tables))["messages"] == 11
    assert sum(slept) == pytest.approx(10 / 4)
    assert max(slept) == pytest.approx(0.25)
    for table in tables:
        await table.close()


async def test_who_takes_its_time_over_a_batch_gets_all_that_arrives_meanwhile(stack: Stack, nats: Client) -> None:
    symbol, count = new_symbol(), PULL + 500  # more than one pull brings, however busy the machine is
    first = (await history.facts(nats, "MD_TRADE")).last
    for n in range(count):
        event = trade(symbol, n)
        await nats.publish(names.event_subject(event), events.encode(event))

    async def stored() -> bool:
        return (await history.facts(nats, "MD_TRADE")).last == first + count

    await until(stored, "all is in the log")
    table = Questdb(stack.questdb_pg)
    read: list[history.Past] = []
    async for batch in history.Source(names.WORD["trade"], nats, table, now(), now() + 1_000 * count).batches():
        assert len(batch) < count, "not run: all came at once"
        read += batch
        await asyncio.sleep(0.2)
    assert len(read) == count
    await table.close()


async def test_a_reader_that_begins_again_goes_on_behind_the_last_message_it_had(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    await publish(nats, *(trade(symbol, n) for n in range(30)))
    live = await history.facts(nats, "MD_TRADE")
    assert await replay(stack.settings, _order(now(), now() + 30_000)) == 0
    view: Any = Prefixed(nats, PREFIX)
    found = await history.facts(view, "MD_TRADE")
    reader = history.Reader(view, "MD_TRADE", found.created, 0)
    first = await reader.take(5.0, 30)
    assert [message.sequence for message in first] == list(range(live.first, live.last + 1))
    assert first[0].subject == f"md.trade.binance.{symbol}"
    reader._newest -= 10  # as if the last ones had been lost on the way
    reader._broken = True
    again = await reader.take(5.0, 10)
    assert again == first[-10:]
    await reader.close()


def test_a_bad_prefix_speed_or_window_is_a_usage_error() -> None:
    for arguments in (
        ("--prefix", "md"), ("--prefix", "a.b"), ("--prefix", "a b"), ("--speed", "0"), ("--speed", "fast"),
        ("--speed", "nan"), ("--keep", "much"), ("--to", "2020-01-01"),
    ):  # fmt: skip
        found = CliRunner().invoke(cli, ["replay", "--from", "2026-01-01", *arguments])
        assert found.exit_code == 2, arguments
        assert "Error" in found.output
