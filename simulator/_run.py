"""Serve the simulated exchanges until told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from simulator._market import Market
from simulator._server import Simulator

TURN_S = 0.01
_log = structlog.get_logger()


def _now() -> int:
    return time.time_ns() // 1_000


async def simulate(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    seed: int = 1,
    symbols: int = 20,
    rate: float = 100.0,
    stop: asyncio.Event,
    clock: Callable[[], int] = _now,
    monotonic: Callable[[], float] = time.monotonic,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until ``stop`` is set; ``ready`` gets the port, a free one where ``port`` is 0.

    Exchange ``x`` is at ``ws://host:port/x`` and ``http://host:port/x``. ``rate`` is the trades a second of each
    exchange over its ``symbols`` symbols; ``clock`` gives µs since the epoch. Raises OSError for a port in use.
    """
    market = Market(seed, symbols, rate)
    async with serve(market, host=host, port=port, clock=clock, monotonic=monotonic) as (simulator, bound):
        _log.info("simulator_ready", host=host, port=bound, seed=seed, exchanges=sorted(simulator.hubs))
        if ready is not None:
            ready(bound)
        await simulator.run(stop)


@asynccontextmanager
async def serve(
    market: Market,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], int] = _now,
    monotonic: Callable[[], float] = time.monotonic,
    turn_s: float = TURN_S,
) -> AsyncIterator[tuple[Simulator, int]]:
    """A running simulator and its port."""
    simulator = Simulator(market, clock=clock, monotonic=monotonic)
    runner = web.AppRunner(simulator.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        simulator.start(turn_s)
        yield simulator, runner.addresses[0][1]
    finally:
        simulator.close()
        await runner.cleanup()
