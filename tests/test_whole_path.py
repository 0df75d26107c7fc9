"""From an exchange's socket to rows and footprints, through the real commands and servers: counts are exact."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest
import redis

from consumers._questdb import query
from flowtape.migrate import provision
from tests.conftest import Stack
from tests.exchange import Exchange, exchange, tape
from tests.harness import Command, Sum, commands, eventually, in_footprints, in_stream, in_table

RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames" / "binance_spot"
SYMBOLS = {"BTCUSDT": "binance:BTC-USDT", "ETHUSDT": "binance:ETH-USDT"}


@pytest.fixture
async def path(own_stack: Stack):
    """A provisioned stack and a scripted exchange; the variables with which commands find the exchange."""
    await provision(own_stack.settings, lambda _line: None)
    async with exchange() as scripted:
        prefix = "FLOWTAPE_EXCHANGES_BINANCE_"
        variables = {
            f"{prefix}WS_URL": f"ws://{scripted.url}", f"{prefix}REST_URL": f"http://{scripted.url}",
            f"{prefix}SYMBOLS": "BTC-USDT,ETH-USDT", f"{prefix}CHANNELS": "trades",
        }  # fmt: skip
        yield own_stack, scripted, variables


def expected(frames: list[bytes]) -> dict[str, Sum]:
    """The same sums straight from the frames' JSON, with nothing of ours in between."""
    sums: dict[str, Sum] = {}
    for frame in frames:
        data = json.loads(frame)["data"]
        key = SYMBOLS[data["s"]]
        trades, quantity, maker = sums.get(key, Sum(0, Decimal(0), 0))
        sums[key] = Sum(trades + 1, quantity + Decimal(data["q"]), maker + data["m"])
    return sums


def same(found: dict[str, Sum], wanted: dict[str, Sum], *, sides: bool = True) -> bool:
    """Equal counts and quantities; the JSON numbers are doubles, so a quantity may differ in its ninth place."""
    return found.keys() == wanted.keys() and all(
        found[key].trades == wanted[key].trades
        and abs(found[key].quantity - wanted[key].quantity) < Decimal("1e-8")
        and (not sides or found[key].buyer_maker == wanted[key].buyer_maker)
        for key in wanted
    )


async def settled(stack: Stack, wanted: dict[str, Sum] | None = None, seconds: float = 90) -> dict[str, Sum]:
    """Until stream, table and footprints agree with each other and with ``wanted``; the sums then."""

    async def agree() -> dict[str, Sum] | None:
        stream = await in_stream(stack.settings)
        reached = wanted is None or same(stream, wanted)
        if not (stream and reached and same(await in_table(stack.settings), stream)):
            return None
        return stream if same(in_footprints(stack.settings), stream, sides=False) else None

    try:
        return await eventually(agree, "stream = rows = footprints", seconds)
    except AssertionError as error:
        ends = await in_stream(stack.settings), await in_table(stack.settings), in_footprints(stack.settings)
        raise AssertionError(f"wanted {wanted}\nstream {ends[0]}\nrows {ends[1]}\nfootprints {ends[2]}") from error


def _frames(source: str) -> list[bytes]:
    if source == "written":
        return tape(4_000)
    if not RECORDED.is_dir():
        pytest.skip("not run: no recorded frames beside the project")
    return (RECORDED / "trade.hftbacktest-2024.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("source", ["written", "recorded"])
async def test_frames_sent_as_fast_as_they_are_read_end_as_exact_rows_views_and_footprints(path, source: str) -> None:
    stack, scripted, variables = path
    frames = _frames(source)
    with commands(stack, ("consume",), ("signal",), ("produce", "binance"), **variables) as running:
        await scripted.subscribed()
        await scripted.play(frames)
        await settled(stack, expected(frames))
        value = sum(Decimal(json.loads(f)["data"]["p"]) * Decimal(json.loads(f)["data"]["q"]) for f in frames)
        [(stored,)] = await query(stack.questdb_pg, "SELECT sum(value) FROM trades")
        assert abs(Decimal(repr(stored)) - value) < Decimal("1e-4")

        async def views_agree() -> bool:
            table = await query(stack.questdb_pg, "SELECT symbol, sum(quantity) FROM trades ORDER BY symbol")
            view = await query(stack.questdb_pg, "SELECT symbol, sum(volume) FROM trades_OHLC_1m ORDER BY symbol")
            return [(s, round(q, 8)) for s, q in table] == [(s, round(q, 8)) for s, q in view]

        await eventually(views_agree, "the 1m view's volume equals the table's")
        assert [command.stop() for command in running] == [0, 0, 0]


async def _with_faults(path, count: int, faults, *, producers: int = 1) -> None:
    stack, scripted, variables = path
    frames = tape(count)
    makers = [("produce", "binance")] * producers
    with commands(stack, ("consume",), ("signal",), *makers, **variables) as running:
        await scripted.subscribed(producers)
        playing = asyncio.create_task(scripted.play(frames, per_s=1_000))
        await asyncio.sleep(1)
        await faults(stack, scripted, running)
        await playing
        await settled(stack, expected(frames))


async def test_questdb_away_in_the_middle_leaves_nothing_missing(path) -> None:
    async def fault(stack: Stack, _scripted: Exchange, _running: list[Command]) -> None:
        stack.kill("questdb")
        await asyncio.sleep(3)
        await asyncio.to_thread(stack.start)

    await _with_faults(path, 6_000, fault)


async def test_nats_killed_twice_leaves_nothing_missing_and_nothing_doubled(path) -> None:
    async def fault(stack: Stack, _scripted: Exchange, _running: list[Command]) -> None:
        for _ in range(2):
            stack.kill("nats")
            await asyncio.sleep(1)
            await asyncio.to_thread(stack.start)
            await asyncio.sleep(1.5)

    await _with_faults(path, 6_000, fault)


async def test_consumer_and_signal_engine_killed_count_nothing_twice(path) -> None:
    async def fault(_stack: Stack, _scripted: Exchange, running: list[Command]) -> None:
        for command in running[:2]:
            command.kill()
            await asyncio.sleep(0.5)
            command.start()
            await asyncio.sleep(1)

    await _with_faults(path, 6_000, fault)


async def test_two_producers_make_one_row_and_one_count_and_either_may_die(path) -> None:
    async def fault(_stack: Stack, scripted: Exchange, running: list[Command]) -> None:
        running[2].kill()
        await asyncio.sleep(1)
        running[2].start()
        await scripted.subscribed(2)
        await asyncio.sleep(0.5)
        running[3].kill()

    await _with_faults(path, 8_000, fault, producers=2)


async def test_a_producer_killed_alone_leaves_stream_rows_and_footprints_equal(path) -> None:
    stack, scripted, variables = path
    with commands(stack, ("consume",), ("signal",), ("produce", "binance"), **variables) as running:
        await scripted.subscribed()
        playing = asyncio.create_task(scripted.play(tape(5_000), per_s=1_000))
        await asyncio.sleep(1.5)
        running[2].kill()
        running[2].start()
        await playing
        kept = await settled(stack)
        assert sum(its.trades for its in kept.values()) < 5_000, "not run: nothing was missed while it was dead"


async def test_redis_flushed_and_killed_gets_its_keys_back_byte_for_byte(path) -> None:
    stack, scripted, variables = path
    frames = tape(3_000)
    with commands(stack, ("consume",), ("signal",), ("produce", "binance"), **variables):
        await scripted.subscribed()
        await scripted.play(frames)
        await settled(stack, expected(frames))
        before = await eventually(lambda: _steady(stack), "the keys come to rest")
        for fault in (_flush, _kill_redis):
            await fault(stack)
            await eventually(lambda: _equal(stack, before), "the keys come back")


async def _flush(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as cache:
        cache.flushall()


async def _kill_redis(stack: Stack) -> None:
    stack.kill("redis")
    await asyncio.sleep(0.5)
    for dump in (stack.data_dir / "redis").glob("*.rdb"):
        dump.unlink()
    await asyncio.to_thread(stack.start)


def keys(stack: Stack) -> dict[str, object]:
    """Every key that is a function of the log, with its bytes."""
    found: dict[str, object] = {}
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as cache:
        for key in cache.scan_iter(count=1000):
            if key.startswith(("live:", "health")):
                continue
            kind = cache.type(key)
            if kind == "string":
                found[key] = cache.get(key)
            elif kind == "zset":
                found[key] = cache.zrange(key, 0, -1, withscores=True)
            else:
                found[key] = cache.hgetall(key)
    return found


async def _steady(stack: Stack) -> dict[str, object] | None:
    before = keys(stack)
    await asyncio.sleep(1.5)
    return before if before and keys(stack) == before else None


async def _equal(stack: Stack, before: dict[str, object]) -> bool:
    return keys(stack) == before
