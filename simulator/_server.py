"""One port for all exchanges: ``/<exchange>/…`` as the exchange serves it, ``/_…`` to control the simulator."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from simulator._faults import Active, Fault, Faults
from simulator._hub import Hub
from simulator._market import Market
from simulator._registry import venues
from simulator._rest import Rest
from simulator._socket import converse
from simulator._truth import truth
from simulator._venue import BODY, Desk, Reply, RequestRefused


class Simulator:
    """Every exchange of the folder over one market. Served by ``simulate``; tests may use it directly."""

    def __init__(self, market: Market, *, clock: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self.market = market
        self._monotonic = monotonic
        self.turns: asyncio.Task[None] | None = None
        self.faults = Faults(monotonic, random.Random(market.seed))
        desks = {venue.id: Desk(venue, market, clock, lambda: asyncio.sleep(0)) for venue in venues()}
        self.hubs = {name: Hub(desk, self.faults) for name, desk in desks.items()}
        self.rests = {name: Rest(desk, self.faults, monotonic) for name, desk in desks.items()}

    def start(self, turn_s: float) -> None:
        """Begin to send: a turn every ``turn_s``, until ``close``."""
        self.turns = asyncio.create_task(self._turns(turn_s))

    async def _turns(self, turn_s: float) -> None:
        while True:
            self.turn()
            await asyncio.sleep(turn_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for ``stop``. An error while sending is raised here: it must not look like a quiet market."""
        stopped = asyncio.ensure_future(stop.wait())
        turns = self.turns or stopped
        try:
            await asyncio.wait((stopped, turns), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if turns is not stopped and turns.done():
            turns.result()

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_post("/_fault", self._on_fault)
        app.router.add_post("/_reset", self._on_reset)
        app.router.add_get("/_state", self._on_state)
        app.router.add_get("/_truth", self._on_truth)
        app.router.add_get("/{exchange}/{path:.*}", self._on_exchange)
        app.router.add_post("/{exchange}/{path:.*}", self._on_exchange)
        return app

    def turn(self) -> None:
        """Send what is due on every exchange, ping, and cut off who does not answer."""
        for late in self.faults.due():
            self.hubs[late.exchange].late(late.feed, late.message)
        now_s = self._monotonic()
        for hub in self.hubs.values():
            if hub.connections:
                hub.turn(hub.desk.now_ms())
                hub.tend(now_s)

    def fault(self, fault: Fault) -> Active:
        """Begin a fault. Raises ValueError where it makes no sense."""
        if fault.exchange and fault.exchange not in self.hubs:
            raise ValueError(f"unknown exchange {fault.exchange!r}; known are {', '.join(self.hubs)}")
        active = self.faults.add(fault)
        for name, hub in self.hubs.items():
            if active.hits(name) and fault.kind == "drop":
                active.fired += hub.drop()
            elif active.hits(name) and fault.kind == "shutdown":
                active.fired += hub.shut(self._monotonic() + fault.seconds)
        if fault.kind in ("drop", "shutdown"):
            active.until_s = float("-inf")
        return active

    def reset(self) -> None:
        """End all faults, forget all counts and bans; connections stay."""
        self.faults.clear()
        for name, hub in self.hubs.items():
            hub.reset()
            self.rests[name].reset()

    def state(self) -> dict[str, Any]:
        """Connections, subscriptions and counts by exchange, and every fault with how often it fired."""
        exchanges = {
            name: {
                "connections": len(hub.connections),
                "subscriptions": sum(len(connection.feeds) for connection in hub.connections),
                "counts": dict(hub.counts),
                "rest": {**self.rests[name].counts, "used": self.rests[name].used},
            }
            for name, hub in self.hubs.items()
        }
        faults = [
            {"id": a.id, **msgspec.to_builtins(a.fault), "fired": a.fired, "ids": a.ids} for a in self.faults.asked
        ]
        return {"exchanges": exchanges, "faults": faults}

    def close(self) -> None:
        """Stop sending and reset all connections."""
        if self.turns is not None:
            self.turns.cancel()
        for hub in self.hubs.values():
            hub.drop()

    async def _on_fault(self, request: web.Request) -> web.Response:
        try:
            active = self.fault(msgspec.json.decode(await request.read(), type=Fault))
        except (ValueError, msgspec.MsgspecError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"id": active.id, "fired": active.fired})

    async def _on_reset(self, _: web.Request) -> web.Response:
        self.reset()
        return web.json_response({})

    async def _on_state(self, _: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _on_truth(self, request: web.Request) -> web.Response:
        hub = self.hubs.get(request.query.get("exchange", ""))
        if hub is None:
            return web.json_response({"error": "unknown exchange"}, status=404)
        try:
            return web.json_response(await truth(hub.desk, request.query))
        except RequestRefused as refusal:
            return _response(refusal.reply)

    async def _on_exchange(self, request: web.Request) -> web.StreamResponse:
        hub = self.hubs.get(request.match_info["exchange"])
        path = "/" + request.match_info["path"]
        if hub is None:
            return web.json_response({"error": "unknown exchange"}, status=404)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await converse(request, hub, path, self.faults, self._monotonic)
        query = request.query if request.method == "GET" else {**request.query, BODY: await request.text()}
        return _response(await self.rests[hub.desk.venue.id].answer(path, query))


def _response(reply: Reply) -> web.Response:
    headers = {"Content-Type": "application/json;charset=UTF-8", **reply.headers}
    return web.Response(body=reply.encoded, status=reply.status, headers=headers)
