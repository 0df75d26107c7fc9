"""The whole path, socket to rows and arrays: the product beside the bare path, over both transports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import redis
from nats.js.api import StreamConfig

from benchmarks._stack import process, stack
from benchmarks.bare_path import STREAM, SUBJECT, TABLE
from benchmarks.blaster import symbol
from consumers._questdb import Questdb, query, statement
from flowtape import bus, servers
from flowtape.migrate import provision
from schemas.names import signal_durable, watermark_key
from schemas.settings import Settings

SECONDS_MAX = 180.0
WARM = 0.4
"""The part of the trades that goes through before the clock starts: QuestDB's Java compiles itself meanwhile, which
months of running do once."""
_BARE_TABLE = (
    f"CREATE TABLE {TABLE} (symbol SYMBOL, price DOUBLE, quantity DOUBLE, timestamp TIMESTAMP, is_buyer_maker BOOLEAN, "
    "exchange SYMBOL, trade_id VARCHAR, value DOUBLE) TIMESTAMP(timestamp) PARTITION BY DAY "
    "DEDUP UPSERT KEYS(timestamp, trade_id, exchange, symbol)"
)


@contextlib.contextmanager
def _blaster(settings: Settings, count: int, symbols: int) -> Iterator[int]:
    port = servers.free_port()
    with process(settings, "-m", "benchmarks.blaster", str(port), str(count), str(symbols)):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield port


def bare(count: int, symbols: int, transport: str) -> float:
    """Trades a second of the bare path."""
    with stack() as settings, _blaster(settings, count, symbols) as port:
        asyncio.run(_bare_place(settings))
        questdb = settings.questdb.http.removeprefix("http://")
        nats, each = settings.nats.url, "benchmarks.bare_path"
        with (
            process(settings, "-m", each, "rows", nats, questdb, str(count)),
            process(settings, "-m", each, "arrays", nats, str(count)) as arrays,
            process(settings, "-m", each, "produce", nats, f"ws://127.0.0.1:{port}/ws/x", str(count), transport),
        ):

            async def done() -> bool:
                return not arrays.is_running() or arrays.status() == "zombie"

            return asyncio.run(_rate(settings, TABLE, count, done))


async def _bare_place(settings: Settings) -> None:
    nats = await bus.connect(settings, "admin")
    await nats.jetstream().add_stream(StreamConfig(name=STREAM, subjects=[f"{SUBJECT}.>"], duplicate_window=120))
    await nats.close()
    await query(settings.questdb.pg, _BARE_TABLE)


def product(count: int, symbols: int, transport: str) -> float:
    """Trades a second of flowtape, everything running: consumers of all tables, all signals, views and TTLs."""
    with stack() as settings, _blaster(settings, count, symbols) as port:
        asyncio.run(provision(settings, lambda _line: None))
        prefix = "FLOWTAPE_EXCHANGES_BINANCE_"
        names = ",".join(f"{symbol(n).removesuffix('USDT')}-USDT" for n in range(symbols))
        exchange = {
            f"{prefix}WS_URL": f"ws://127.0.0.1:{port}", f"{prefix}REST_URL": f"http://127.0.0.1:{port}",
            f"{prefix}SYMBOLS": names, f"{prefix}CHANNELS": "trades", f"{prefix}TRANSPORT": transport,
        }  # fmt: skip
        with (
            process(settings, "-m", "flowtape", "consume"),
            process(settings, "-m", "flowtape", "signal"),
        ):
            _await_heartbeats(settings, ("consume", "signal"))
            with process(settings, "-m", "flowtape", "produce", "binance", **exchange):
                return asyncio.run(_rate(settings, "trades", count, lambda: _applied(settings)))


def _await_heartbeats(settings: Settings, names: tuple[str, ...]) -> None:
    with redis.Redis.from_url(settings.redis.url) as cache:
        deadline = time.monotonic() + 60
        while not all(cache.hexists("health", name) for name in names):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{names} are not all up")
            time.sleep(0.1)


async def _applied(settings: Settings) -> bool:
    """Whether the signal engine has applied the last trade of the log."""
    nats = await bus.connect(settings, "admin")
    last = (await nats.jetstream().get_last_msg("MD_TRADE", "md.trade.>")).seq or 0
    await nats.close()
    with redis.Redis.from_url(settings.redis.url) as cache:
        reached = cache.hget(watermark_key(signal_durable("footprint")), "sequence")
    return reached is not None and int(reached) >= last


async def _rate(settings: Settings, table: str, count: int, signals_done: Callable[[], Awaitable[bool]]) -> float:
    """Trades a second of a warm stack, until all rows are there and the arrays are made.

    The clock starts at the first look that sees ``WARM`` of ``count`` rows.
    """
    deadline = time.monotonic() + SECONDS_MAX
    rows = warm = 0
    began = 0.0
    questdb = Questdb(settings.questdb.pg)  # one connection, asked seldom: looking on must not cost what it measures
    while rows < count or not await signals_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{rows:,} of {count:,} rows after {SECONDS_MAX:.0f} s")
        await asyncio.sleep(0.25)
        rows = (await questdb.fetch(statement("count", table=table)))[0][0]
        if not began and rows >= WARM * count:
            began, warm = time.monotonic(), rows
    took_s = time.monotonic() - began
    await questdb.close()
    assert rows == count, f"{rows:,} rows of {count:,} trades"
    assert warm < 0.7 * count, f"{warm:,} of {count:,} trades were there at the first look: too few to measure"
    return (count - warm) / took_s
