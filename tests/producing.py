"""What producer tests share: a scripted exchange over a real socket, a NATS server they may kill, quick time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.js.api import StreamConfig
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from producers._connection import Connection, Surroundings
from producers._exchange import Options, Setup, directory, load
from producers._feeds import Feeds
from producers._transport import transport
from schemas import names
from schemas.events import Event, Trade
from tests.conftest import free_port

FAST = 40.0
"""How much quicker time passes for what is tested with it."""
NOW = 1_767_225_600_000_000
_BEGUN_NS = time.monotonic_ns()


def session(exchange: str = "binance", **options: Any) -> Any:
    """A session of an exchange that knows nothing but its naming rule."""
    declared = load(exchange)
    return declared.session(Setup(exchange, Feeds(directory(declared, exchange)), Options(**options)))


def frame(number: int, native: str = "BTCUSDT", price: str = "100.5") -> str:
    """A spot trade frame of 2026-01-01 and after, one a millisecond."""
    at = NOW // 1000 + number
    data = {"e": "trade", "E": at, "s": native, "t": number, "p": price, "q": "2", "T": at, "m": True, "M": True}
    return msgspec.json.encode({"stream": f"{native.lower()}@trade", "data": data}).decode()


def trade(number: int, symbol: str = "BTC-USDT") -> Trade:
    """A trade event."""
    return Trade("binance", symbol, NOW + number, NOW + number, str(number), 100.5, 2.0, 201.0, True)


class Sink:
    """Keeps what a connection hands on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.letters: list[tuple[str, str, bytes, str, str]] = []

    def add(self, event: Event) -> None:
        self.events.append(event)

    def dead(self, *letter: Any) -> None:
        self.letters.append(letter)

    def ids(self, symbol: str = "BTC-USDT") -> list[int]:
        return [int(e.trade_id) for e in self.events if isinstance(e, Trade) and e.symbol == symbol]


class Script:
    """A server whose n-th connection is played by the n-th scene; the last scene plays all further ones."""

    def __init__(self, *scenes: Callable[[ServerConnection, Script], Awaitable[None]]) -> None:
        self.scenes = scenes
        self.connections = 0
        self.open = self.open_max = 0
        self.requests: list[dict[str, Any]] = []
        self.url = ""

    async def _play(self, socket: ServerConnection) -> None:
        scene = self.scenes[min(self.connections, len(self.scenes) - 1)]
        self.connections += 1
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        with contextlib.suppress(ConnectionClosed):
            await scene(socket, self)
        self.open -= 1

    async def request(self, socket: ServerConnection, *, acknowledge: bool = True) -> dict[str, Any]:
        """The client's next request."""
        request: dict[str, Any] = msgspec.json.decode(await socket.recv())
        self.requests.append(request)
        if acknowledge:
            await socket.send(msgspec.json.encode({"result": None, "id": request["id"]}).decode())
        return request

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Script]:
        async with serve(self._play, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self


async def idle(socket: ServerConnection, _: Script) -> None:
    """Answer pings and say nothing."""
    await socket.wait_closed()


def surroundings(name: Any, stop: asyncio.Event, pauses: list[float] | None = None) -> Surroundings:
    """Time that runs ``FAST`` times quicker; the pauses asked for are kept in ``pauses``."""

    async def sleep(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)
        await asyncio.sleep(seconds / FAST)

    return Surroundings(
        clock=lambda: NOW + (time.monotonic_ns() - _BEGUN_NS) // 1000,
        monotonic=lambda: time.monotonic() * FAST,
        sleep=sleep,
        rng=random.Random(7),
        connect=transport(name),
        stop=stop,
    )


@contextlib.asynccontextmanager
async def connected(
    script: Script, name: str, natives: tuple[str, ...] = ("BTCUSDT",), pauses: list[float] | None = None, **limits: Any
) -> AsyncIterator[tuple[Connection, Sink]]:
    """A connection of the ``binance`` declaration to a script, running until the block ends."""
    stop, sink = asyncio.Event(), Sink()
    declared = load("binance")
    declared = msgspec.structs.replace(declared, limits=msgspec.structs.replace(declared.limits, **limits))
    setup = Setup("binance", Feeds(directory(declared, "binance")), Options())
    topics = {f"{native.lower()}@trade": (setup.feeds.channel("trades")[native], 60.0) for native in natives}
    connection = Connection(
        declared, setup, script.url + "/stream", topics, sink, surroundings(name, stop, pauses)
    )  # fmt: skip
    task = asyncio.create_task(connection.run())
    try:
        yield connection, sink
    finally:
        stop.set()
        await task


async def until(true: Callable[[], Any], s_max: float = 30.0) -> None:
    """Wait for something to become true; fail when it does not."""
    for _ in range(int(s_max / 0.01)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


class NatsServer:
    """A nats-server of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).parent / "nats-server"
        store = str(self.folder / "store")
        arguments = [
            program,
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-js",
            "-sd",
            store,
            "-l",
            str(self.folder / "log"),
        ]
        self._process = subprocess.Popen(arguments)

    def freeze(self) -> None:
        """SIGSTOP: it goes on to take bytes, and does nothing with them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: what it was sent meanwhile it takes in now."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def connect(self) -> Client:
        """A client that never gives up."""

        async def quiet(_: Exception) -> None:
            return None

        return await nats.connect(
            self.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet, connect_timeout=10,
            allow_reconnect=True,
        )  # fmt: skip

    async def streams(self, client: Client, **more: Any) -> None:
        """The streams of the product."""
        for stream in names.STREAMS:
            config = StreamConfig(stream, subjects=names.stream_subjects(stream), duplicate_window=120, **more)
            await client.jetstream().add_stream(config)


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[NatsServer]:
    """A running server, gone afterwards."""
    server = NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Stored(msgspec.Struct):
    """A message as the stream holds it."""

    subject: str
    headers: dict[str, str]
    data: bytes


async def stored(client: Client, stream: str) -> list[Stored]:
    """Every message of a stream, in order."""
    context = client.jetstream()
    state = (await context.stream_info(stream)).state
    found = []
    for first in range(state.first_seq, state.last_seq + 1, 100):
        numbers = range(first, min(first + 100, state.last_seq + 1))
        messages = await asyncio.gather(*(context.get_msg(stream, number) for number in numbers))
        found += [Stored(it.subject or "", dict(it.headers or {}), it.data or b"") for it in messages]
    return found


def trade_ids(messages: list[Stored], symbol: str = "BTC-USDT") -> list[int]:
    """Ids of a symbol's trades, in the order of the stream."""
    decode = msgspec.json.Decoder(Trade).decode
    wanted = f"md.trade.binance.{symbol}"
    return [int(decode(line).trade_id) for m in messages if m.subject == wanted for line in m.data.splitlines()]
