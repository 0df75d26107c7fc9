"""Entry points of the producer processes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Literal

from nats.aio.client import Client

from producers._connection import Surroundings
from producers._order import Clerk, Order, Progress
from producers._transport import transport
from producers._worker import Worker
from schemas.settings import Settings

LIVE = ("trades", "liquidations", "books")
SLOW = ("klines", "funding", "open_interest")


async def produce(
    exchange: str, settings: Settings, nats: Client, stop: asyncio.Event, health: dict[str, Any]
) -> None:  # fmt: skip
    """Trades, liquidations and books of one exchange, until ``stop``. Raises ConfigError if no symbol exists."""
    await _work(exchange, LIVE, "produce", settings, nats, stop, health)


async def klines(
    exchange: str, settings: Settings, nats: Client, stop: asyncio.Event, health: dict[str, Any]
) -> None:  # fmt: skip
    """Candles, funding and open interest of one exchange, until ``stop``. Raises ConfigError if no symbol exists."""
    await _work(exchange, SLOW, "klines", settings, nats, stop, health)


async def _work(
    exchange: str, words: tuple[str, ...], name: str, settings: Settings, nats: Client, stop: asyncio.Event,
    health: dict[str, Any],
) -> None:  # fmt: skip
    its = settings.exchanges.get(exchange)
    around = _around(stop, its.transport if its else "websockets")
    await Worker(exchange, words, name, settings, nats, around, health).run()


def _around(stop: asyncio.Event, socket: Literal["websockets", "picows"] = "websockets") -> Surroundings:
    return Surroundings(
        clock=lambda: time.time_ns() // 1000,
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        rng=random.Random(),
        connect=transport(socket),
        stop=stop,
    )


async def backfill(
    order: Order, settings: Settings, nats: Client, stop: asyncio.Event, told: Callable[[Progress], None]
) -> Progress:  # fmt: skip
    """Read a part of history into the log. Raises ConfigError where it cannot be had, RestError where it was not."""
    return await Clerk(order, settings, nats, _around(stop)).run(told)
