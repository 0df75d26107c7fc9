"""The engine's parts: grids, the memory of trades, profiles, the archive, the reader."""

from __future__ import annotations

import asyncio
import json
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import redis.asyncio as aioredis
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from flowtape import bus
from flowtape.migrate import migrate
from schemas.instruments import Instrument
from schemas.names import HEADER_ID, WORD
from schemas.settings import ConfigError
from signals import _run
from signals._archive import Archive
from signals._candle import Candle, CandleDamaged, unpack
from signals._grid import Grids
from signals._jetstream import facts
from signals._layout import COLUMNS, DAY, START
from signals._rolling import RANGES
from signals._seen import CAPACITY_MAX, CAPACITY_MIN, Seen
from signals._state import IntervalUnusable, Spans
from signals._stream import Reader, StreamReplaced
from tests import oracle
from tests.conftest import Stack
from tests.harness import eventually
from tests.signal_streams import MIDNIGHT, Machine, instrument, messages, reference, stream

STREAM = WORD["trade"].stream


def _grids(row="auto", versions=()) -> tuple[Grids, list[Instrument]]:
    pins: list[Instrument] = []
    grids = Grids(row, pins.append)
    grids.learn(list(versions))
    return grids, pins


def test_an_automatic_row_is_pinned_for_the_day_and_kept_when_the_price_moves() -> None:
    grids, pins = _grids(versions=[instrument("x", "A-B")])
    assert grids.choose("x", "A-B", 20_000, 60_000.0, 1.0).row == 200
    assert [(pin.row, pin.valid_from) for pin in pins] == [(2.0, MIDNIGHT)]
    assert grids.choose("x", "A-B", 20_000, 90.0, 1.0).row == 200
    assert grids.choose("x", "A-B", 20_001, 61_000.0, 1.0).row == 200
    assert len(pins) == 1
    assert grids.choose("x", "A-B", 20_002, 700_000.0, 1.0).row == 2000
    assert pins[-1].valid_from == MIDNIGHT + 2 * DAY


def test_a_registry_read_again_gives_old_days_their_old_rows() -> None:
    grids, pins = _grids(versions=[instrument("x", "A-B")])
    first = [grids.choose("x", "A-B", 20_000 + n, price, 1.0) for n, price in enumerate((60_000.0, 700_000.0, 50.0))]
    again, new = _grids(versions=[instrument("x", "A-B"), *pins])
    found = [again.choose("x", "A-B", 20_000 + n, 1.0, 1.0) for n in range(3)]
    assert [grid._replace(reference=0) for grid in found] == [grid._replace(reference=0) for grid in first]
    assert new == []


def test_a_tick_that_changes_during_a_day_holds_from_the_next_day() -> None:
    old = instrument("x", "A-B")
    new = Instrument(
        **{f: getattr(old, f) for f in old.__struct_fields__} | {"tick_size": 0.1, "valid_from": MIDNIGHT + 5}
    )
    grids, _ = _grids(versions=[old, new])
    assert grids.choose("x", "A-B", 20_000, 100.0, 1.0).tick == 0.01
    assert grids.choose("x", "A-B", 20_001, 100.0, 1.0).tick == 0.1


@pytest.mark.parametrize("row", [5.0, {"A-B": 5.0}])
def test_a_configured_row_wins_over_the_automatic_one(row) -> None:
    grids, _ = _grids(row, [instrument("x", "A-B")])
    assert grids.choose("x", "A-B", 20_000, 60_000.0, 1.0).row == 500


@given(st.floats(1e-12, 1e9), st.floats(1e-9, 1e12))
@settings(deadline=None)
def test_an_unknown_instrument_always_has_a_usable_grid(price: float, quantity: float) -> None:
    grid = _grids()[0].choose("x", "A-B", 20_000, price, quantity)
    assert grid.row >= 1
    assert grid.tick > 0
    assert round(quantity * grid.scale[1]) < 2**53
    assert all(np.isfinite(grid.scale))


def test_intervals_must_divide_a_day_into_whole_seconds() -> None:
    assert Spans(["10s", "1m"]).names == ["10s", "1m", "1d"]
    assert Spans(["3s", "90s"]).base == 1_000_000
    for wrong in ("7m", "250ms", "2d", "1w"):
        with pytest.raises(IntervalUnusable, match=wrong):
            Spans([wrong])


def _admitted(seen: Seen, numbers: np.ndarray, stamps: np.ndarray, now: int) -> np.ndarray:
    zeros = np.zeros(len(numbers), np.int64)
    return seen.admit(numbers, stamps, zeros, zeros, np.array([7], np.uint64), np.array([now]))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_every_trade_within_the_horizon_is_admitted_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, known, now = Seen(600_000_000), set(), MIDNIGHT
    for _ in range(30):
        numbers = rng.integers(0, 40_000, rng.integers(1, 9_000))
        now += 20_000_000
        stamps = now - (numbers % 600) * 1_000_000
        expected = []
        for mark in zip(numbers.tolist(), stamps.tolist(), strict=True):
            expected.append(mark not in known)
            known.add(mark)
        assert _admitted(seen, numbers, stamps, now).tolist() == expected


def test_the_memory_of_trades_is_bounded_and_says_what_it_forgot(monkeypatch) -> None:
    monkeypatch.setattr("signals._seen.CAPACITY_MAX", CAPACITY_MIN)
    assert CAPACITY_MAX > CAPACITY_MIN
    seen = Seen(600_000_000)
    numbers = np.arange(30_000)
    for n in range(5):
        assert _admitted(seen, numbers, np.full(30_000, MIDNIGHT + n), MIDNIGHT).all()
    assert seen.forgotten > 0


def test_the_memory_of_trades_survives_a_snapshot() -> None:
    seen = Seen(600_000_000)
    numbers = np.arange(100_000)
    _admitted(seen, numbers, numbers + MIDNIGHT, MIDNIGHT)
    other = Seen(600_000_000)
    other.recall(seen.news(), np.array([MIDNIGHT]))
    assert not _admitted(other, numbers, numbers + MIDNIGHT, MIDNIGHT).any()


@pytest.mark.parametrize("seed", range(4))
def test_rolling_and_session_profiles_hold_exactly_the_trades_of_their_range(seed: int) -> None:
    batch = messages(stream(seed, 4_000), seed)
    machine = Machine(late_horizon=3_600_000_000)
    for at in range(0, len(batch), 50):
        machine.feed(batch[at : at + 50])
        machine.board.gather(float(at))
        if at % 700 == 0:
            machine.store()
    truth, keys = reference(batch, machine), machine.keys()
    for (exchange, name), symbol in truth.symbols.items():
        now = truth.clocks[exchange] - oracle.GRACE
        until = now - now % 60_000_000 + 60_000_000
        days = sorted({trade.timestamp // DAY for trade in symbol.applied})
        begins = {"session": days[-1] * DAY} | {of: until - length for of, length in RANGES.items()}
        for of, begin in begins.items():
            profile = json.loads(keys[f"profile:{exchange}:{name}:{of}".encode()], parse_float=Decimal)
            assert profile["from"] == begin
            own = [t for t in symbol.applied if begin <= t.timestamp < profile["to"]]
            assert Fraction(profile["buy"]) * 1000 == sum(t.lots for t in own if not t.is_sell)
            assert Fraction(profile["sell"]) * 1000 == sum(t.lots for t in own if t.is_sell)
            rows: dict[Fraction, int] = {}
            for trade in own:
                edge = trade.tick * Fraction(1, 100) // Fraction(profile["row"]) * Fraction(profile["row"])
                rows[edge] = rows.get(edge, 0) + trade.lots
            volumes = [rows.pop(Fraction(price), 0) for price in profile["prices"]]
            assert rows == {}
            assert volumes == [(b + s) * 1000 for b, s in zip(profile["buys"], profile["sells"], strict=True)]
            area = oracle.value_area(volumes)
            found = tuple(profile[word] for word in ("poc", "val", "vah"))
            assert found == (tuple(profile["prices"][row] for row in area) if area else (None,) * 3)


def test_a_damaged_archive_is_moved_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8_000))
    archive = Archive(path, 200)
    assert archive.moved_aside
    assert archive.state() is None
    assert (tmp_path / "a.sqlite.damaged").exists()
    archive.close()


def test_damaged_candles_are_recognised() -> None:
    meta = np.zeros(COLUMNS, np.int64)
    meta[START] = MIDNIGHT
    packed = Candle(meta, np.zeros(2), *(np.zeros(1, kind) for kind in (np.int64, np.int64, np.int32, np.int32))).pack()
    assert unpack(packed).timestamp == MIDNIGHT
    for wrong in (b"", b"\x01" + packed[1:], packed[:-5], packed[:9]):
        with pytest.raises(CandleDamaged):
            unpack(wrong)


def test_lines_that_are_no_trade_of_their_subject_are_counted_and_the_rest_is_applied() -> None:
    batch = messages(stream(3, 300, wild=False), 3)
    clean, dirty = Machine(), Machine()
    clean.feed(batch)
    junk = [b"", b"{", b"[]", b'{"kind":"trade"}', batch[0].payload.splitlines()[0].replace(b'"one"', b'"elsewhere"')]
    spoiled = [message._replace(payload=message.payload + b"\n" + junk[n % 5]) for n, message in enumerate(batch)]
    dirty.feed(spoiled)
    assert clean.keys() == dirty.keys()
    assert dirty.core.decoder.bad


async def test_the_reader_goes_on_when_its_consumer_is_deleted_or_the_server_is_killed(own_stack: Stack) -> None:
    admin = await bus.connect(own_stack.settings, "admin")
    await migrate(own_stack.settings, admin)
    reader = Reader(admin, STREAM, (await facts(admin, STREAM)).created, 0)
    got: list[int] = []

    async def until(count: int) -> None:
        async with asyncio.timeout(60):
            while len(got) < count:
                got.extend(message.sequence for message in await reader.take(0.2))

    async def publish(text: str, count: int) -> None:
        for n in range(count):
            message_id = {HEADER_ID: f"{text}{n}"}
            async with asyncio.timeout(60):
                while True:
                    try:
                        await admin.jetstream().publish("md.trade.x.A-B", text.encode(), headers=message_id)
                        break
                    except (NatsError, JetStreamError):  # the server is just starting
                        await asyncio.sleep(0.1)

    await publish("first", 300)
    await until(300)
    for consumer in await admin.jetstream().consumers_info(STREAM):
        await admin.jetstream().delete_consumer(STREAM, consumer.name)
    await publish("again", 50)
    await until(350)
    own_stack.kill("nats")
    own_stack.start()
    await publish("back", 50)
    await until(400)
    assert got == list(range(1, 401))
    await admin.jetstream().delete_stream(STREAM)
    await migrate(own_stack.settings, admin)
    with pytest.raises(StreamReplaced):
        await asyncio.wait_for(until(401), 60)
    await reader.close()
    await admin.close()


async def test_what_waits_in_a_reader_counts_as_not_read(nats: Client) -> None:
    found = await facts(nats, STREAM)
    reader = Reader(nats, STREAM, found.created, found.last, pull=100)
    for n in range(300):
        await nats.publish("md.trade.x.A-B", b"%d" % n)

    async def stored() -> bool:
        return (await facts(nats, STREAM)).last == found.last + 300

    async def waiting() -> bool:
        return len(reader._waiting) > 10

    await eventually(stored, "all is in the log")
    taken = await reader.take(20.0, 1)
    assert taken
    await eventually(waiting, "not run: more waits in the reader")
    assert reader.sequence == taken[-1].sequence
    assert reader.pending == 300 - len(taken)
    while len(taken) < 300:
        taken += await reader.take(20.0, 1)
        assert reader.sequence == taken[-1].sequence
    assert [message.payload for message in taken] == [b"%d" % n for n in range(300)]
    assert reader.pending == 0
    assert reader.restarts == 0, "a pull that ended is no reason to begin again"
    await reader.close()


async def test_an_unknown_signal_or_interval_is_a_configuration_error(stack: Stack, tmp_path: Path) -> None:
    cache = aioredis.Redis.from_url(stack.redis_url)
    nats = await bus.connect(stack.settings, "signal")
    with pytest.raises(ConfigError, match="nonsense"):
        await _run.signal(["nonsense"], stack.settings, nats, cache, asyncio.Event(), {})
    await nats.close()
    await cache.aclose()
