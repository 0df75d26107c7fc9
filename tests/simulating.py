"""A simulator with a clock that stands still until it is told to go on."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from simulator._faults import Fault
from simulator._frame import frame
from simulator._market import Market
from simulator._run import serve

START_MS = 1_795_000_030_000
END = b"end of what was sent"


class Bench:
    """A running simulator, its clock and an HTTP client."""

    def __init__(self, simulator, port, clock, http):
        self.simulator, self.port, self.clock, self.http = simulator, port, clock, http

    async def get(self, path, exchange="binance"):
        """Status, JSON body and headers."""
        async with self.http.get(f"http://127.0.0.1:{self.port}/{exchange}{path}") as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text, response.headers

    async def rows(self, path, exchange="binance"):
        status, body, _ = await self.get(path, exchange)
        assert status == 200, body
        return body

    async def control(self, path, body=None):
        """``/_state``, ``/_truth?…``; with a body a POST."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, f"http://127.0.0.1:{self.port}{path}", json=body) as response:
            return response.status, await response.json()

    def fault(self, kind, **more):
        return self.simulator.fault(Fault(kind=kind, **more))

    def ws(self, path="/stream", exchange="binance") -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}/{exchange}{path}"
        return connect(url, max_size=None, max_queue=None, compression=None, ping_interval=None)

    async def go_on(self, ms):
        """Let market time pass, and everything that is due be sent."""
        self.clock.ms += ms
        for _ in range(ms // 10_000 + 2):
            self.simulator.turn()
        await asyncio.sleep(0)

    def streams(self, exchange="binance"):
        """How many streams are being delivered."""
        return self.simulator.state()["exchanges"][exchange]["subscriptions"]

    async def received(self, socket):
        """Every frame sent so far: an end mark goes behind them to all connections."""
        for hub in self.simulator.hubs.values():
            for connection in hub.connections:
                connection.queue(frame(END))
                connection.flush()
        frames = []
        while (text := await socket.recv()) != END.decode():
            frames.append(text)
        return frames

    async def data(self, socket):
        """The data of every combined-stream frame sent so far, by stream."""
        found = {}
        for text in await self.received(socket):
            message = json.loads(text)
            found.setdefault(message["stream"], []).append(message["data"])
        return found


class Clock:
    def __init__(self):
        self.ms = START_MS

    def __call__(self):
        return self.ms * 1_000


@asynccontextmanager
async def running(*, symbols=5, rate=60.0, seed=3, monotonic=None):
    clock = Clock()
    extra = {} if monotonic is None else {"monotonic": monotonic}
    async with (
        serve(Market(seed, symbols, rate), clock=clock, turn_s=0.002, **extra) as (simulator, port),
        aiohttp.ClientSession() as http,
    ):
        yield Bench(simulator, port, clock, http)


async def subscribe(socket, *streams, name=1):
    await socket.send(json.dumps({"method": "SUBSCRIBE", "params": list(streams), "id": name}))
    assert json.loads(await socket.recv()) == {"result": None, "id": name}


async def until(holds):
    """Wait for what another task is about to do."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def exact(texts):
    return sum(map(Decimal, texts), Decimal(0))
