"""Entry points of the producer processes."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from nats.aio.client import Client

from producers._connection import Surroundings
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
    around = Surroundings(
        clock=lambda: time.time_ns() // 1000,
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        rng=random.Random(),
        connect=transport(its.transport if its else "websockets"),
        stop=stop,
    )
    await Worker(exchange, words, name, settings, nats, around, health).run()
