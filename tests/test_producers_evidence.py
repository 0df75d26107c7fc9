"""A subscription that delivers nothing: asked again, connected anew, tried elsewhere, proven mute, and said aloud."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection

from producers._connection import VAIN_MAX, Connection, alternates
from producers._evidence import MOVES_MIN, QUIET_S, Evidence
from producers._exchange import Options, Page, Recent, Request, Row, Setup, directory, load
from producers._feeds import Feeds
from producers._rest import RestClient
from tests.filling import Venue
from tests.producing import NOW, Script, Sink, frame, idle, surroundings, trade, until


async def _mute(socket: ServerConnection, script: Script) -> None:
    """Accept the subscription, answer pings, deliver nothing."""
    await script.request(socket)
    await idle(socket, script)


@contextlib.asynccontextmanager
async def _connected(url: str, *others: str) -> AsyncIterator[tuple[Connection, Sink]]:
    declared = load("binance")
    declared = msgspec.structs.replace(declared, limits=msgspec.structs.replace(declared.limits, first_s_max=2.0))
    setup = Setup("binance", Feeds(directory(declared, "binance")), Options())
    topics = {"btcusdt@trade": (setup.feeds.channel("trades")["BTCUSDT"], 60.0)}
    stop, sink = asyncio.Event(), Sink()
    connection = Connection(
        declared, setup, url, topics, sink, surroundings("websockets", stop), others=[f"{it}/stream" for it in others]
    )  # fmt: skip
    task = asyncio.create_task(connection.run())
    try:
        yield connection, sink
    finally:
        stop.set()
        await task


def test_the_other_endpoints_of_an_exchange_keep_the_sockets_path() -> None:
    url = "wss://stream.binance.com:9443/stream"
    assert alternates(load("binance"), url)[0] == "wss://stream.binance.com:443/stream"
    assert alternates(load("binance"), "wss://elsewhere.example/stream") == []


async def test_an_endpoint_that_stays_mute_is_left_for_the_next_one() -> None:
    async def plays(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        for number in range(10_000):
            await socket.send(frame(number))
            await asyncio.sleep(0.01)

    mute, other = Script(_mute), Script(plays)
    async with mute.serving(), other.serving(), _connected(mute.url + "/stream", other.url) as (connection, sink):
        await until(lambda: sink.ids())
        assert mute.connections == VAIN_MAX
        assert connection.state["url"] == other.url + "/stream"
        await until(lambda: not connection.state["alarm"])


async def test_when_every_endpoint_is_mute_an_alarm_stands_until_something_comes() -> None:
    answer = asyncio.Event()

    async def scene(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        await answer.wait()
        for number in range(10_000):
            await socket.send(frame(number))
            await asyncio.sleep(0.01)

    script = Script(scene)
    async with script.serving(), _connected(script.url + "/stream") as (connection, sink):
        await until(lambda: connection.state["alarm"])
        assert connection.state["alarm"] == "nothing came after subscribing"
        answer.set()
        await until(lambda: sink.ids() and not connection.state["alarm"])


class Bench:
    """A symbol whose book moves and whose trades do not come, and what the exchange's REST says of its trades."""

    def __init__(self, port: int, folder: Path, traded: list[int]) -> None:
        declared = load("binance")
        self.feeds = Feeds(directory(declared, "binance"))
        self.trades, self.book = self.feeds.channel("trades")["BTCUSDT"], self.feeds.channel("books")["BTCUSDT"]
        self.trades.step(1, NOW, NOW)
        self.trades.frames = 1
        self.now = NOW
        self.seconds = 0.0
        stop = asyncio.Event()
        around = surroundings("websockets", stop)._replace(clock=lambda: self.now, monotonic=lambda: self.seconds)
        self.rest = RestClient(
            declared.rest, f"http://127.0.0.1:{port}", folder, clock=around.clock, sleep=around.sleep
        )  # fmt: skip
        self.mute: list[str] = []
        recent = Recent(
            request=lambda native, start, end: Request(
                f"https://api.binance.com/api/v3/historicalTrades?symbol={native}&fromId=0&limit=5", 1, native,
                start=start, end=end,
            ),
            parse=lambda _, request, __, ___: Page(
                [Row(n, NOW + n, [trade(n)]) for n in traded], request.start, request.end
            ),
        )  # fmt: skip
        self.evidence = Evidence(
            recent, Setup("binance", self.feeds, Options()), self.rest, around, lambda _, why: self.mute.append(why)
        )

    async def pass_by(self, seconds: float, moves: int) -> None:
        """Time goes by in which the book moves so often; then it is looked once."""
        self.evidence._suspicious()
        self.seconds += seconds
        self.now += int(seconds * 1e6)
        self.book.frames += moves
        for watched in self.evidence._suspicious():
            await self.evidence._ask(watched)


@contextlib.asynccontextmanager
async def _bench(folder: Path, traded: list[int]) -> AsyncIterator[Bench]:
    async with Venue((), range(1, 3)).open() as venue:
        bench = Bench(venue.port, folder, traded)
        yield bench
        await bench.rest.close()


async def test_trades_the_exchange_made_meanwhile_prove_a_subscription_mute(tmp_path: Path) -> None:
    async with _bench(tmp_path, [5_000_000]) as bench:
        await bench.pass_by(QUIET_S + 1, MOVES_MIN - 1)
        assert not bench.evidence.counts["asked"], "its book hardly moved: nothing is suspicious"
        await bench.pass_by(1, 1)
        assert bench.evidence.counts["mute"] == 1
        assert bench.mute == ["BTC-USDT trades, and its subscription is silent"]


async def test_a_symbol_that_really_does_not_trade_is_left_alone_and_asked_for_rarely(tmp_path: Path) -> None:
    async with _bench(tmp_path, []) as bench:
        for _ in range(4):
            await bench.pass_by(QUIET_S + 1, MOVES_MIN)
        assert bench.evidence.counts == {"asked": 2, "quiet": 2, "mute": 0, "unanswered": 0}
        assert not bench.mute
        bench.trades.frames += 1
        counts: dict[str, Any] = dict(bench.evidence.counts)
        await bench.pass_by(QUIET_S - 1, MOVES_MIN)
        assert bench.evidence.counts == counts, "it was heard again"
