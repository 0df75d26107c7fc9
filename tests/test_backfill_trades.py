"""Trades of the hours before the first start: read backwards, once, with the ids that listening would have brought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from flowtape.migrate import provision
from schemas import time
from schemas.events import Trade
from simulator._market import Market
from simulator._run import serve
from simulator._truth import truth
from tests.accounting import of_log
from tests.backfilling import scene
from tests.conftest import Stack
from tests.harness import commands, eventually
from tests.test_whole_path import settled

WORDS = ("trades", "liquidations", "books")


@pytest.mark.parametrize("exchange", ["binance", "coinbase", "kraken"])
async def test_trades_before_the_first_start_come_newest_first_and_join_what_is_heard(
    exchange: str, tmp_path: Path
) -> None:
    async with scene(exchange, tmp_path, rate=10.0) as it:
        it.settings = it.configured(channels=("trades",), trades="25m")
        (symbol,) = it.tapes
        async with it.working(WORDS):
            await it.until(lambda: it.health.get("history", {}).get("trades", 0) > 1_000, "a part of the trades")
        before = await of_log(it.nats, exchange, symbol)
        pages = it.health["history"]["pages"]
        async with it.working(WORDS):
            await it.until(
                lambda: it.health.get("history", {}).get("trades") and not it.health["backfill"], "all of them"
            )
            again = it.health["history"]["pages"]
        trades = [event for event in await it.events("trades") if isinstance(event, Trade)]
        oldest = min(trade.timestamp for trade in trades)
        assert oldest <= it.began - 24 * time.MINUTE
        its = await of_log(it.nats, exchange, symbol)
        heard = min(int(t.trade_id) for t in trades if t.received - t.timestamp < 30 * time.SECOND)
        assert set(range(its.first, heard)) <= its.stored, "a hole before the first one heard"
        assert not its.unaccounted
        assert its.first < before.first < before.last < its.last
        assert len(trades) < len(its.stored) + 1_100, "what was there was read again"
        assert pages
        assert again
        histories = [int(t.trade_id) for t in trades if t.received - t.timestamp > 5 * time.MINUTE]
        assert histories[0] > histories[-1], "newest first"
        it.asked.clear()
        async with it.working(WORDS):
            await it.passed(1)
            assert it.health["history"] == {"trades": 0, "pages": 0, "errors": 0, "left": 0}


@pytest.mark.parametrize(("exchange", "reach"), [("bitget", 15 * time.MINUTE), ("bybit_futures", 0)])
async def test_where_ids_are_not_dense_trades_before_the_first_start_come_as_far_as_the_exchange_has_them(
    exchange: str, reach: int, tmp_path: Path
) -> None:
    async with scene(exchange, tmp_path, rate=10.0) as it:
        it.settings = it.configured(channels=("trades",), trades="15m")
        async with it.working(WORDS):
            await it.until(
                lambda: it.health.get("history", {}).get("trades") and not it.health["backfill"], "the trades"
            )
            await it.passed(1)
        trades = {event.trade_id: event for event in await it.events("trades") if isinstance(event, Trade)}
        begin = min(trade.timestamp for trade in trades.values()) + time.MILLISECOND
        end = max(trade.timestamp for trade in trades.values()) - time.MILLISECOND
        assert begin <= it.began - reach + time.MINUTE
        desk = it.simulator.hubs[exchange].desk
        (tape,) = it.tapes.values()
        bounds = {"from": str(begin // 1_000), "to": str(end // 1_000)}
        sums = await truth(desk, {"symbol": tape.listing.symbol, **bounds})
        own = [trade for trade in trades.values() if begin <= trade.timestamp <= end]
        assert len(own) == sums["count"]
        assert len(own) > 300


async def test_trades_of_before_end_in_the_footprints_as_they_stand_in_the_table(own_stack: Stack) -> None:
    await provision(own_stack.settings, lambda _line: None)
    async with serve(Market(5, 1, 20.0)) as (_, port):
        prefix, at = "FLOWTAPE_EXCHANGES_BINANCE_", f"127.0.0.1:{port}/binance"
        variables = {
            f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}CHANNELS": "trades",
            f"{prefix}SYMBOLS": '["*"]', "FLOWTAPE_TRADES_BACKFILL": "20m",
        }  # fmt: skip
        with (
            redis.Redis.from_url(own_stack.redis_url, decode_responses=True) as cache,
            commands(own_stack, ("consume",), ("signal",), **variables),
        ):

            def beat(worker: str) -> dict[str, Any]:
                found: dict[str, Any] = json.loads(cache.hget("health", worker) or "{}")
                return found

            async def ready() -> bool:
                return beat("signal").get("state") == "running"

            async def filled() -> bool:
                its = beat("produce-binance")
                return its.get("history", {}).get("trades", 0) > 0 and not its["backfill"]

            await eventually(ready, "the engine runs", 300)
            with commands(own_stack, ("produce", "binance"), **variables) as (producer,):
                await eventually(filled, "the trades of twenty minutes are read", 90)
                assert producer.stop() == 0
            (sums,) = (await settled(own_stack)).values()
            assert sums.trades > 15 * 60 * 20, "not run: nothing older than the late horizon came"
            assert beat("signal")["recomputed"] > 5_000, f"not run: {beat('signal')}"
