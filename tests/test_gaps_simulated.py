"""Gaps of simulated exchanges are found, filled and proven: after each fault every id is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig

from producers._run import produce
from schemas.events import Trade
from schemas.settings import ExchangeSettings, Settings
from simulator._deribit_streams import TRADE_ID
from simulator._faults import Fault
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from simulator._truth import truth
from tests.accounting import Account, of_log
from tests.producing import nats_server, until

pytestmark = pytest.mark.unsteady
EXCHANGES = (
    "binance", "binance_futures", "okx", "okx_futures", "coinbase", "kraken", "kraken_futures", "deribit",
)  # fmt: skip

NUMBERS = {
    "deribit": lambda trade: int(trade.trade_id) - TRADE_ID,
    "kraken_futures": lambda trade: int(trade.trade_id[-12:], 16),
}
"""The dense number of a trade, where it is not its id."""


class Scene:
    """A simulator, a log, and a producer between them that can be stopped and started."""

    def __init__(self, exchange: str, simulator: Simulator, port: int, nats: Client, folder: Path) -> None:
        self.exchange, self.simulator, self.nats = exchange, simulator, nats
        self.desk = simulator.hubs[exchange].desk
        self.symbols = [tape.listing.canonical for tape in self.desk.tapes.values()]
        urls = {"ws_url": f"ws://127.0.0.1:{port}/{exchange}", "rest_url": f"http://127.0.0.1:{port}/{exchange}"}
        its = ExchangeSettings(symbols=self.symbols, channels=["trades"], **urls)
        self.settings = Settings(data_dir=str(folder / "data"), exchanges={exchange: its})
        self.health: dict[str, Any] = {}

    @contextlib.asynccontextmanager
    async def producing(self) -> AsyncIterator[None]:
        stop, self.health = asyncio.Event(), {}
        task = asyncio.create_task(produce(self.exchange, self.settings, self.nats, stop, self.health))
        try:
            await until(lambda: self.health.get("frames", 0) > 20 or task.done())
            yield
        finally:
            stop.set()
            await task

    @property
    def gaps(self) -> dict[str, int]:
        """The ledger's counts in the worker's health."""
        return self.health.get("gaps", {})

    async def closed(self, count: int = 1) -> None:
        """Until at least so many gaps were filled and none is open."""
        try:
            await until(lambda: self.gaps["filled"] >= count and self.gaps["open"] == 0)
        except AssertionError as error:
            raise AssertionError(f"{count} gaps were not closed: {self.health} {self.simulator.turns}") from error

    async def accounts(self) -> dict[str, Account]:
        number = NUMBERS.get(self.exchange, lambda trade: int(trade.trade_id))
        return {symbol: await of_log(self.nats, self.exchange, symbol, number) for symbol in self.symbols}

    async def check(self) -> list[Account]:
        """Every id of every symbol is stored, and the sums are those of the market."""
        for _ in range(20):
            accounts = await self.accounts()
            if all(its.complete for its in accounts.values()):
                break
            await asyncio.sleep(0.5)  # an id that is late counts as missing after a second
        for symbol, its in accounts.items():
            assert its.complete, (symbol, its.unaccounted, its.gaps)
            assert not its.nonexistent
        return list(accounts.values())


@contextlib.asynccontextmanager
async def scene(exchange: str, folder: Path, *, symbols: int = 3, rate: float = 300.0) -> AsyncIterator[Scene]:
    with nats_server(folder / "nats") as server:
        client = await server.connect()
        await server.streams(client)
        for bucket in ("instruments", "cursors"):
            await client.jetstream().create_key_value(KeyValueConfig(bucket))
        async with serve(Market(11, symbols, rate)) as (simulator, port):
            yield Scene(exchange, simulator, port, client, folder)
        await client.close()


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_ids_left_out_are_filled_with_the_same_ids_and_times(exchange: str, tmp_path: Path) -> None:
    async with scene(exchange, tmp_path) as it, it.producing():
        skipped = it.simulator.fault(Fault(kind="skip", exchange=exchange, count=40))
        await until(lambda: skipped.fired == 40)
        await it.closed()
        accounts = await it.check()
        assert skipped.ids, "not run: nothing was left out"
        for first, last in skipped.ids:
            assert any(set(range(first, last + 1)) <= its.stored for its in accounts)
        assert {gap.cause for its in accounts for gap in its.gaps} == {"skipped"}


async def test_what_was_filled_sums_up_to_what_the_market_traded(tmp_path: Path) -> None:
    async with scene("binance", tmp_path, symbols=1) as it, it.producing():
        skipped = it.simulator.fault(Fault(kind="skip", exchange="binance", count=30))
        await until(lambda: skipped.fired == 30)
        await it.closed()
        (its,) = await it.check()
        trades = {t.trade_id: t for t in await _trades(it, it.symbols[0]) if int(t.trade_id) <= its.last}
        sums = await truth(it.desk, {"symbol": it.symbols[0], "from_id": str(its.first), "to_id": str(its.last)})
        assert sums["count"] == len(trades)
        for name in ("quantity", "value"):
            total = sum((Decimal(repr(getattr(trade, name))) for trade in trades.values()), Decimal(0))
            assert abs(total / Decimal(sums[name]) - 1) < Decimal("1e-9")


async def _trades(it: Scene, symbol: str) -> list[Trade]:
    from tests.accounting import _TRADES, _read

    return [t for data in await _read(it.nats, "MD_TRADE", f"md.trade.{it.exchange}.{symbol}") for t in _TRADES(data)]


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_what_trades_while_sockets_are_broken_is_filled(exchange: str, tmp_path: Path) -> None:
    async with scene(exchange, tmp_path) as it, it.producing():
        before = it.health["reconnects"]
        refused = it.simulator.fault(Fault(kind="refuse", exchange=exchange, count=1))
        dropped = it.simulator.fault(Fault(kind="drop", exchange=exchange))
        assert dropped.fired, "not run: nothing was dropped"
        await until(lambda: it.health["reconnects"] >= before + 2 and it.health["connected"])
        assert refused.fired, "not run: nothing was refused"
        await it.closed()
        accounts = await it.check()
        assert "disconnect" in {gap.cause for its in accounts for gap in its.gaps}


async def test_a_hole_across_a_restart_is_seen_at_the_first_id_after_it(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:
        async with it.producing():
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        async with it.producing():
            await it.closed(count=len(it.symbols))
            accounts = await it.check()
        assert {gap.cause for its in accounts for gap in its.gaps} == {"restart"}


async def test_a_gap_that_was_open_at_the_stop_is_filled_after_the_start(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:
        async with it.producing():
            broken = it.simulator.fault(Fault(kind="rest_500", exchange="binance"))
            skipped = it.simulator.fault(Fault(kind="skip", exchange="binance", count=10))
            await until(lambda: skipped.fired == 10 and it.gaps["errors"] > 0)
            assert broken.fired, "not run: REST answered"
            await asyncio.sleep(2)
        left = [gap for its in (await it.accounts()).values() for gap in its.gaps if gap.status == "open"]
        assert left, "not run: nothing was open at the stop"
        it.simulator.faults.clear()
        async with it.producing():
            await it.closed(count=len(left) + 1)
            accounts = await it.check()
        assert {gap.cause for its in accounts for gap in its.gaps} == {"skipped", "restart"}


@pytest.mark.parametrize("kind", ["rest_429", "rest_html", "rest_500"])
async def test_a_storm_of_refusals_delays_filling_and_loses_nothing(kind: Any, tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it, it.producing():
        storm = it.simulator.fault(Fault(kind=kind, exchange="binance", count=3, retry_after=1))
        skipped = it.simulator.fault(Fault(kind="skip", exchange="binance", count=20))
        await until(lambda: skipped.fired == 20 and storm.fired == 3)
        await it.closed()
        await it.check()
        assert it.gaps["errors"] > 0, "not run: filling met no refusal"
