"""Real processes: history by hand, and a klines worker that is killed in the middle of it."""

from __future__ import annotations

import asyncio
import json
import time as clocks
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from consumers._questdb import query
from flowtape.cli import cli
from schemas import time
from schemas.events import Kline, decode_any
from schemas.names import HEADER_EVENTS
from simulator._faults import Fault
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from simulator._truth import truth
from tests.conftest import Stack
from tests.consuming import consuming, until
from tests.harness import Command, commands, eventually
from tests.producing import stored

EXCHANGE = "binance_futures"


@asynccontextmanager
async def exchange(symbols: str = "BTC-USDT-PERP") -> AsyncIterator[tuple[Simulator, dict[str, str]]]:
    """A simulated exchange and the variables with which commands find it."""
    async with serve(Market(5, 2, 20.0)) as (simulator, port):
        prefix, at = "FLOWTAPE_EXCHANGES_BINANCE_FUTURES_", f"127.0.0.1:{port}/{EXCHANGE}"
        variables = {f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}SYMBOLS": symbols}
        yield simulator, variables


async def ended(stack: Stack, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    command = Command(stack, "backfill", *arguments, **variables)
    before = len(command.output())
    code = await asyncio.to_thread(command.process.wait, 90)
    return code, command.output()[before:]


async def candles(nats: Client, interval: str) -> list[Kline]:
    lines = [line for message in await stored(nats, "MD_KLINE") for line in message.data.splitlines()]
    found = [event for event in map(decode_any, lines) if isinstance(event, Kline)]
    return [kline for kline in found if kline.interval == interval]


async def test_a_range_of_history_by_hand_is_exact_and_asking_again_changes_no_row(stack: Stack, nats: Client) -> None:
    symbol = "BTC-USDT-PERP"
    midnight = time.floor(clocks.time_ns() // 1_000, time.DAY) - 3 * time.DAY  # within the days the table keeps
    day = time.iso(midnight)[:10]
    async with exchange() as (simulator, variables), consuming(stack, nats, "trades", "klines"):
        bounds = ("--from", day, "--to", time.iso(midnight + 36 * time.HOUR))
        for _ in range(2):
            code, text = await ended(stack, "klines", EXCHANGE, "BTCUSDT", *bounds, "--interval", "1m", **variables)
            assert code == 0, text
            assert "2,160 events" in text
        short = ("--from", day, "--to", f"{day}T00:12")
        for _ in range(2):
            code, text = await ended(stack, "trade", EXCHANGE, symbol, *short, **variables)
            assert code == 0, text
        first, last = midnight, midnight + 12 * time.MINUTE
        told = {"symbol": symbol, "from": str(first // 1_000), "to": str(last // 1_000 - 1)}
        sums = await truth(simulator.hubs[EXCHANGE].desk, told)

        async def there() -> Any:
            where = f"WHERE exchange = '{EXCHANGE}' AND symbol = '{symbol}' AND timestamp IN '{day}'"
            trades = await query(stack.questdb_pg, f"SELECT count(), sum(value) FROM trades {where}")
            klines = await query(stack.questdb_pg, f"SELECT count(), min(source), max(revision) FROM klines {where}")
            reached = trades[0][0] >= sums["count"] and klines[0][0] >= 1_440
            return (trades[0], klines[0]) if reached else None

        trades, klines = await until(there, "the rows")
        assert trades[0] == sums["count"]
        assert abs(trades[1] / float(sums["value"]) - 1) < 1e-9
        assert klines == (1_440, "rest", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("books", EXCHANGE, "BTC-USDT-PERP", "--from", "2026-11-01"), "no exchange keeps a history of it"),
        (("klines", "binanze", "BTC-USDT-PERP", "--from", "2026-11-01"), "unknown exchange"),
        (("klines", EXCHANGE, "BTC-USDT-PERP", "--from", "yesterday"), "neither an ISO 8601 time"),
        (("klines", EXCHANGE, "BTC-USDT-PERP", "--from", "2026-11-02", "--to", "2026-11-01"), "before --to"),
        (("klines", EXCHANGE, "BTC-USDT-PERP", "--from", "2026-11-01", "--interval", "7x"), "not a duration"),
        (("funding", EXCHANGE, "BTC-USDT-PERP", "--from", "2026-11-01", "--interval", "1m"), "funding has none"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli, ["backfill", *arguments])
    assert result.exit_code == 2
    assert said in result.output


async def test_what_an_exchange_does_not_have_is_said_in_one_line(stack: Stack, nats: Client) -> None:
    async with exchange() as (_, variables):
        bounds = ("--from", "2026-11-01")
        for arguments, said in (
            (("BTC-USDX-PERP", *bounds), "near are BTC-USDT-PERP"),
            (("BTC-USDT-PERP", *bounds, "--interval", "7s"), "it has 1m"),
        ):
            code, text = await ended(stack, "klines", EXCHANGE, *arguments, **variables)
            assert (code, said in text) == (2, True), text
            assert "Traceback" not in text


async def test_an_exchange_that_refuses_ends_the_command_with_what_it_said(stack: Stack, nats: Client) -> None:
    async with exchange() as (simulator, variables):
        # Its instruments are in the registry of an earlier run or not: either way this is the first answer.
        refused = simulator.fault(Fault(kind="rest_418", exchange=EXCHANGE, retry_after=100_000))
        code, text = await ended(stack, "klines", EXCHANGE, "BTC-USDT-PERP", "--from", "2026-11-01", **variables)
        assert refused.fired, "not run: nothing was refused"
        assert code == 1
        assert "418" in text or "no budget" in text
        assert "the same command goes on" in text


async def test_a_worker_killed_while_it_reads_history_asks_for_nothing_twice_but_the_last_pages(
    stack: Stack, nats: Client
) -> None:
    async with exchange() as (simulator, variables):
        asked: list[tuple[str, str]] = []
        rest = simulator.rests[EXCHANGE]
        answer = rest.answer
        slow = asyncio.Event()
        slow.set()  # so that it can be met in the middle

        async def noted(path: str, its: Any) -> Any:
            if path.endswith("/klines") and its["interval"] == "1m":
                asked.append((its["startTime"], its["endTime"]))
            await asyncio.sleep(0.8 if slow.is_set() else 0)
            return await answer(path, its)

        rest.answer = noted  # type: ignore[method-assign]  # looks on, changes nothing
        more = {"FLOWTAPE_KLINES_BACKFILL": "20d", "FLOWTAPE_KLINES_INTERVALS": "1m"}
        more |= {"FLOWTAPE_EXCHANGES_BINANCE_FUTURES_CHANNELS": "klines"}
        with (
            redis.Redis.from_url(stack.redis_url, decode_responses=True) as cache,
            commands(stack, ("klines", EXCHANGE), **variables, **more) as (worker,),
        ):

            async def marked() -> bool:
                bucket = await nats.jetstream().key_value("cursors")
                try:
                    noted = (await bucket.get(f"past.{EXCHANGE}.BTC-USDT-PERP")).value
                except KeyNotFoundError:
                    return False
                spans[:] = json.loads(noted or b"{}").get("klines.1m", [])
                return any(end - begin > time.DAY for begin, end in spans)

            spans: list[tuple[int, int]] = []
            await eventually(marked, "a part of history is read and noted", 60)
            worker.kill()
            slow.clear()
            before = len(asked)
            worker.start()

            async def whole() -> bool:
                beat = json.loads(cache.hget("health", f"klines-{EXCHANGE}") or "{}")
                its = beat.get("history", {})
                return beat.get("pid") == worker.process.pid and its.get("read", 0) > 0 and its["left"] == 0

            await eventually(whole, "all of it", 90)
            assert worker.stop() == 0
        assert len({kline.timestamp for kline in await candles(nats, "1m")}) >= 20 * 1_440 - 1
        assert before < 30, "not run: it was done before it was killed"
        for start, end in asked[before:]:
            first, last = int(start) * 1_000, int(end) * 1_000 + time.MINUTE
            again = sum(max(0, min(last, high) - max(first, low)) for low, high in spans)
            assert again <= 2 * time.MINUTE, "what was noted is asked for again, but for the candle before what is not"
        messages = [m for m in await stored(nats, "MD_KLINE") if HEADER_EVENTS in m.headers]
        assert messages, "not run: nothing came in bulk"
