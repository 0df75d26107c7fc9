"""Run the real commands as real processes against a stack, and count what came out of each end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import redis

from consumers._questdb import query
from flowtape import bus
from schemas.events import Trade
from schemas.settings import Settings
from schemas.symbols import ALL, SIMULATED
from tests.conftest import Stack

_TRADES = msgspec.json.Decoder(Trade).decode_lines


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """What a command needs to find the stack of ``settings``."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOWTAPE_")},
        "FLOWTAPE_DATA_DIR": f'"{settings.data_dir}"',
        "FLOWTAPE_DISK": "4GB",
        "FLOWTAPE_TRADES_BACKFILL": "off",
        "FLOWTAPE_NATS_URL": settings.nats.url,
        "FLOWTAPE_QUESTDB_HTTP": settings.questdb.http,
        "FLOWTAPE_QUESTDB_PG": settings.questdb.pg,
        "FLOWTAPE_REDIS_URL": settings.redis.url,
        **extra,
    }


class Command:
    """A ``flowtape`` command in a process of its own; its output goes to a file under the stack's data_dir."""

    def __init__(self, stack: Stack, *arguments: str, **extra: str) -> None:
        self.arguments = arguments
        self._environment = environment(stack.settings, **extra)
        self._log = stack.data_dir / "log" / f"test-{'-'.join(arguments).replace('/', '_')}.log"
        self.start()

    def start(self) -> None:
        """Start it, again if it was stopped."""
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flowtape", *self.arguments], env=self._environment, stdout=out, stderr=out
            )

    def kill(self) -> None:
        """SIGKILL; fails when it had ended before, for then the fault did not happen."""
        assert self.process.poll() is None, f"not run: {self.arguments} had ended: {self.output()[-2000:]}"
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM and its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout=120)  # generous: the machine may be busy
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def output(self) -> str:
        """What it has printed and logged."""
        return self._log.read_text(errors="replace")


@contextmanager
def commands(stack: Stack, *each: tuple[str, ...], **extra: str):
    """Several commands, all ended on the way out whatever happened."""
    running = [Command(stack, *arguments, **extra) for arguments in each]
    try:
        yield running
    finally:
        for command in running:
            if command.process.poll() is None:
                command.process.send_signal(signal.SIGKILL)
                command.process.wait()


async def eventually(holds: Callable[[], Awaitable[Any]], what: str, seconds: float = 60.0) -> Any:
    """The first true answer of ``holds``; fails naming ``what`` and the last answer when the time is up."""
    deadline = time.monotonic() + seconds
    answer: Any = None
    while time.monotonic() < deadline:
        answer = await holds()
        if answer:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what} did not come to hold; last seen: {answer!r}")


class Sum(NamedTuple):
    """What one end of the path holds of a symbol."""

    trades: int
    quantity: Decimal
    buyer_maker: int


async def in_stream(settings: Settings) -> dict[str, Sum]:
    """By ``exchange:symbol``: distinct trades of the stream. A copy that differs from its first fails."""
    nats = await bus.connect(settings, "admin", reconnect=False)
    try:
        context = nats.jetstream()
        last = await _last_trade_sequence(context)
        seen: dict[tuple[str, str, str, int], Trade] = {}
        subscription = await context.subscribe("md.trade.>", ordered_consumer=True)
        reached = 0
        while reached < last:
            message = await subscription.next_msg(timeout=10)
            reached = message.metadata.sequence.stream
            for trade in _TRADES(message.data):
                key = (trade.exchange, trade.symbol, trade.trade_id, trade.timestamp)
                first = seen.setdefault(key, trade)
                assert (first.price, first.quantity) == (trade.price, trade.quantity)
        await subscription.unsubscribe()
    finally:
        await nats.close()
    return summed(seen.values())


async def _last_trade_sequence(context: Any) -> int:
    from nats.js.errors import NotFoundError

    try:
        return (await context.get_last_msg("MD_TRADE", "md.trade.>")).seq
    except NotFoundError:
        return 0


def summed(trades: Iterable[Trade]) -> dict[str, Sum]:
    """Exact sums by ``exchange:symbol``, in decimals of what the JSON says."""
    sums: dict[str, Sum] = {}
    for trade in trades:
        key = f"{trade.exchange}:{trade.symbol}"
        before = sums.get(key, Sum(0, Decimal(0), 0))
        quantity = before.quantity + Decimal(repr(trade.quantity))
        sums[key] = Sum(before.trades + 1, quantity, before.buyer_maker + trade.is_buyer_maker)
    return sums


async def in_table(settings: Settings) -> dict[str, Sum]:
    """By ``exchange:symbol``: rows of ``trades``. An identity stored twice fails."""
    rows = await query(
        settings.questdb.pg, "SELECT exchange, symbol, trade_id, timestamp, quantity, is_buyer_maker FROM trades"
    )
    assert len({row[:4] for row in rows}) == len(rows), "an identity is stored twice"
    sums: dict[str, Sum] = {}
    for exchange, symbol, _, _, quantity, maker in rows:
        before = sums.get(f"{exchange}:{symbol}", Sum(0, Decimal(0), 0))
        key = f"{exchange}:{symbol}"
        sums[key] = Sum(before.trades + 1, before.quantity + Decimal(repr(quantity)), before.buyer_maker + maker)
    return sums


def in_footprints(settings: Settings, interval: str = "1m") -> dict[str, Sum]:
    """By ``exchange:symbol``: the sum over all footprint candles in Redis, row by row. ``buyer_maker`` is not known."""
    sums: dict[str, Sum] = {}
    with redis.Redis.from_url(settings.redis.url, decode_responses=True) as cache:
        for key in cache.scan_iter(f"footprint:*:{interval}", count=1000):
            candles = {
                candle["timestamp"]: candle for candle in map(msgspec.json.decode, cache.zrange(f"{key}:closed", 0, -1))
            }
            last = msgspec.json.decode(cache.get(key))
            candles[last["timestamp"]] = last
            _, exchange, symbol, _ = key.split(":")
            if exchange in (ALL, SIMULATED + ALL):
                continue  # sums over the others
            rows = sum(
                (Decimal(repr(float(x))) for c in candles.values() for x in (*c["buys"], *c["sells"])), Decimal(0)
            )
            sums[f"{exchange}:{symbol}"] = Sum(sum(c["trades"] for c in candles.values()), rows, -1)
    return sums
