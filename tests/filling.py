"""What tests of gaps share: simulated exchanges, a log, and producers between them that can be stopped and started."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import NoKeysError

from producers._run import produce
from schemas.names import BUCKET_CURSORS, BUCKET_INSTRUMENTS
from schemas.settings import Duration, ExchangeSettings, Settings, TradesSettings
from simulator._candles import aggregate_at, id_at
from simulator._deribit_streams import TRADE_ID
from simulator._faults import Active, Fault, Kind
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from tests.accounting import Account, of_log, trades_of
from tests.producing import NOW, NatsServer, frame, nats_server, until

PATIENCE_S = 90.0
"""Some exchanges allow so few requests that filling a handful of gaps takes most of a minute."""
NUMBERS: dict[str, Callable[[Any], int]] = {
    "deribit": lambda trade: int(trade.trade_id) - TRADE_ID,
    "kraken_futures": lambda trade: int(trade.trade_id[-12:], 16),
}
"""The dense number of a trade, where it is not its id."""


class Scene:
    """One simulated exchange and its producer."""

    def __init__(
        self, exchange: str, simulator: Simulator, port: int, nats: Client, folder: Path, server: NatsServer
    ) -> None:  # fmt: skip
        self.exchange, self.simulator, self.nats, self.server = exchange, simulator, nats, server
        self.desk = simulator.hubs[exchange].desk
        self.symbols = [tape.listing.canonical for tape in self.desk.tapes.values()]
        urls = {"ws_url": f"ws://127.0.0.1:{port}/{exchange}", "rest_url": f"http://127.0.0.1:{port}/{exchange}"}
        its = ExchangeSettings(symbols=self.symbols, channels=["trades"], **urls)
        self.settings = Settings(
            data_dir=str(folder / f"data-{exchange}"),
            exchanges={exchange: its},
            trades=TradesSettings(backfill=Duration(0)),
        )  # fmt: skip
        self.health: dict[str, Any] = {}

    @contextlib.asynccontextmanager
    async def producing(self) -> AsyncIterator[None]:
        """A producer that has heard something of each symbol."""
        stop, self.health = asyncio.Event(), {}
        task = asyncio.create_task(produce(self.exchange, self.settings, self.nats, stop, self.health))
        try:
            await until(lambda: self.health.get("frames", 0) > 20 or task.done(), PATIENCE_S)
            await self.stored()
            yield
        finally:
            stop.set()
            await task

    async def stored(self) -> None:
        """Until the log has trades of every symbol: what is left out before the first is no hole."""
        for _ in range(int(PATIENCE_S / 0.1)):
            if all([await trades_of(self.nats, self.exchange, symbol) for symbol in self.symbols]):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not run: {self.exchange}: no trades of every symbol")

    def fault(self, kind: Kind, **more: Any) -> Active:
        """Have this exchange misbehave."""
        return self.simulator.fault(Fault(kind=kind, exchange=self.exchange, **more))

    async def fired(self, active: Active, count: int) -> None:
        """Until a fault has really happened so often."""
        try:
            await until(lambda: active.fired >= count, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"not run: {self.exchange}: {active.fault} fired {active.fired} times") from error

    async def traded(self, count: int) -> int:
        """Until so many trades more were made of each symbol; how many more of all."""

        known = aggregate_at if self.desk.venue.unit == "aggregate" else id_at

        def made() -> list[int]:
            return [known(tape, self.desk.now_ms()) for tape in self.desk.tapes.values()]

        before = made()
        await until(lambda: all(b - a >= count for a, b in zip(before, made(), strict=True)), PATIENCE_S)
        return sum(made()) - sum(before)

    @property
    def gaps(self) -> dict[str, int]:
        """The ledger's counts in the worker's health."""
        return self.health.get("gaps", {})

    async def closed(self, count: int = 1) -> None:
        """Until at least so many gaps were filled and none is open."""
        try:
            await until(lambda: self.gaps["filled"] >= count and self.gaps["open"] == 0, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{self.exchange}: {count} gaps were not closed: {self.health}") from error

    async def remembered(self) -> None:
        """Until the bucket holds an open gap."""
        bucket = await self.nats.jetstream().key_value(BUCKET_CURSORS)
        for _ in range(int(PATIENCE_S / 0.1)):
            with contextlib.suppress(NoKeysError):
                if any(key.count(".") == 2 for key in await bucket.keys()):
                    return
            await asyncio.sleep(0.1)
        raise AssertionError("not run: no gap was remembered")

    async def accounts(self) -> dict[str, Account]:
        """By symbol, of what the log holds."""
        number = NUMBERS.get(self.exchange, lambda trade: int(trade.trade_id))
        return {symbol: await of_log(self.nats, self.exchange, symbol, number) for symbol in self.symbols}

    async def check(self, missed: Sequence[tuple[int, int]] = ()) -> list[Account]:
        """Every id of every symbol is stored, what was ``missed`` (first and last ids) among it; no gap is open."""
        accounts = await self.accounts()
        for _ in range(int(PATIENCE_S / 0.5)):
            if all(its.complete for its in accounts.values()) and not _absent(missed, accounts.values()):
                break
            await asyncio.sleep(0.5)  # an id that is late counts as missing after a second
            accounts = await self.accounts()
        for symbol, its in accounts.items():
            assert its.complete, (self.exchange, symbol, its.unaccounted, its.gaps)
            assert not its.nonexistent
        assert not _absent(missed, accounts.values()), self.exchange
        return list(accounts.values())


def _absent(missed: Sequence[tuple[int, int]], accounts: Iterable[Account]) -> list[tuple[int, int]]:
    """Ranges of ids that no symbol has."""
    return [
        (first, last)
        for first, last in missed
        if not any(set(range(first, last + 1)) <= its.stored for its in accounts)
    ]


@contextlib.asynccontextmanager
async def log_of_its_own(folder: Path) -> AsyncIterator[Client]:
    """A connection to a NATS server with the product's streams and buckets."""
    with nats_server(folder / "nats") as server:
        client = await _prepared(server)
        yield client
        await client.close()


async def _prepared(server: NatsServer) -> Client:
    client = await server.connect()
    await server.streams(client)
    for bucket in (BUCKET_INSTRUMENTS, BUCKET_CURSORS):
        await client.jetstream().create_key_value(KeyValueConfig(bucket))
    return client


@contextlib.asynccontextmanager
async def scenes(
    exchanges: tuple[str, ...], folder: Path, *, symbols: int = 2, rate: float = 100.0
) -> AsyncIterator[list[Scene]]:
    """A scene for each exchange, in one simulator and one log."""
    with nats_server(folder / "nats") as server:
        client = await _prepared(server)
        async with serve(Market(11, symbols, rate)) as (simulator, port):
            yield [Scene(exchange, simulator, port, client, folder, server) for exchange in exchanges]
        await client.close()


class Venue:
    """A socket that sends given ids, and a history that knows given ids; all of 2026-01-01."""

    def __init__(self, sent: Sequence[int], known: Iterable[int], page: int = 1_000) -> None:
        self.sent, self.known, self.page, self.port = sent, sorted(known), page, 0
        self.refuse = 0
        """The status history answers with instead of trades."""
        self.empty = 0
        """How many of the next answers know of no trades yet."""
        self.asked = 0

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            wanted = msgspec.json.decode(message.data)
            await socket.send_json({"result": None, "id": wanted["id"]})
            for number in self.sent if wanted["method"] == "SUBSCRIBE" else ():
                await socket.send_str(frame(number))
        return socket

    async def _history(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.refuse:
            return web.json_response({"code": -1100, "msg": "no"}, status=self.refuse)
        if self.empty:
            self.empty -= 1
            return web.json_response([])
        first = int(request.query["fromId"])
        rows = [
            {"id": n, "price": "100.5", "qty": "2", "time": NOW // 1000 + n, "isBuyerMaker": True}
            for n in self.known
            if n >= first
        ]
        return web.json_response(rows[: min(self.page, int(request.query["limit"]))])

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Venue]:
        application = web.Application()
        application.router.add_get("/stream", self._socket)
        application.router.add_get("/api/v3/historicalTrades", self._history)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()
