"""A klines worker between a simulated exchange and a real log, in quick time; and what has to be in the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.js.api import KeyValueConfig

from producers._connection import Surroundings
from producers._transport import transport
from producers._worker import Worker
from schemas import names
from schemas import time as clockwork
from schemas.events import Event, Kline, decode_any
from schemas.settings import ExchangeSettings, KlinesSettings, PollSettings, Settings, TradesSettings, _duration
from simulator._candles import candle
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from tests.producing import Stored, nats_server, stored

QUICK = 60.0
"""How much faster than ours the market's clock, and the worker's, runs."""
START_MS = 1_795_000_000_000 // 86_400_000 * 86_400_000 + 45_000
SLOW = ("klines", "funding", "open_interest")


class Scene:
    """A simulator, a log, and a worker between them that can be stopped and started."""

    def __init__(self, exchange: str, simulator: Simulator, port: int, nats: Client, folder: Path, clock: Any) -> None:
        self.exchange, self.simulator, self.nats, self.folder, self.clock = exchange, simulator, nats, folder, clock
        self.tapes = {tape.listing.canonical: tape for tape in simulator.hubs[exchange].desk.tapes.values()}
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Path and query of each REST request."""
        self.corrected: dict[int, str] = {}
        """By open time, ms: the close that REST gives from now on, as an exchange that has corrected a candle."""
        self._urls = {"ws_url": f"ws://127.0.0.1:{port}/{exchange}", "rest_url": f"http://127.0.0.1:{port}/{exchange}"}
        self.settings = self.configured()
        self.health: dict[str, Any] = {}
        self.began = 0
        """When the first worker was started, µs."""
        rest = simulator.rests[exchange]
        answer = rest.answer

        async def noted(path: str, query: Any) -> Any:
            self.asked.append((path, dict(query)))
            reply = await answer(path, query)
            for row in reply.body if path.endswith("klines") and isinstance(reply.body, list) else ():
                row[4] = self.corrected.get(row[0], row[4])
            return reply

        rest.answer = noted  # type: ignore[method-assign]  # looks on, changes nothing

    def configured(
        self, *, intervals: tuple[str, ...] = ("1m", "5m"), backfill: str = "12h", trades: str = "off",
        channels: tuple[str, ...] = ("klines",), symbols: int = 1,
    ) -> Settings:  # fmt: skip
        """Settings of the scene."""
        its = ExchangeSettings(symbols=list(self.tapes)[:symbols], channels=list(channels), **self._urls)
        return Settings(
            data_dir=str(self.folder / "data"), exchanges={self.exchange: its},
            klines=KlinesSettings(intervals=list(intervals), backfill=_duration(backfill)),
            poll=PollSettings(open_interest=_duration("5m"), funding=_duration("5m")),
            trades=TradesSettings(backfill=_duration(trades)),
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def working(self, words: tuple[str, ...] = SLOW) -> AsyncIterator[None]:
        """The worker, from here to the end of the block."""
        stop, self.health = asyncio.Event(), {}
        around = Surroundings(
            clock=self.clock, monotonic=lambda: time.monotonic() * QUICK, sleep=lambda s: asyncio.sleep(s / QUICK),
            rng=random.Random(1), connect=transport("websockets"), stop=stop,
        )  # fmt: skip
        worker = Worker(self.exchange, words, "klines", self.settings, self.nats, around, self.health)
        self.began = self.began or self.clock()
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            stop.set()
            await task

    async def filled(self) -> None:
        """Until history is there."""
        await self.until(lambda: self.health.get("symbols") and not self.health["backfill"], "history")

    async def until(self, true: Any, what: str, s_max: float = 40.0) -> None:
        """Until something holds; fails with what is known of the worker."""
        for _ in range(int(s_max / 0.02)):
            if true():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{what} did not come about: {self.health} {self.simulator.state()['faults']}")

    async def passed(self, minutes: int) -> None:
        """Until so many more minutes of the market are over, and a little more."""
        await asyncio.sleep((minutes * 60_000_000 - self.clock() % 60_000_000) / QUICK / 1e6 + 20 / QUICK)

    # --- what is in the log ------------------------------------------------------------------------------------
    async def messages(self, word: str) -> list[Stored]:
        """Every message of a word's stream."""
        return await stored(self.nats, names.WORD[word].stream)

    async def events(self, word: str) -> list[Event]:
        """Every event of a word's stream, in order."""
        return [decode_any(line) for message in await self.messages(word) for line in message.data.splitlines()]

    async def klines(self, interval: str, symbol: str = "") -> list[Kline]:
        """The candles of an interval, in the order of the log."""
        symbol = symbol or next(iter(self.tapes))
        its = [event for event in await self.events("klines") if isinstance(event, Kline)]
        return [event for event in its if (event.interval, event.symbol) == (interval, symbol)]

    def check(self, klines: list[Kline], begin: int, end: int) -> None:
        """Every candle of ``begin`` to before ``end`` (µs) is there, one content each, and is the market's."""
        interval = klines[0].interval
        length, seen = clockwork.duration(interval), dict[int, Kline]()
        for it in klines:
            first = seen.setdefault(it.timestamp, it)
            assert bare(first) == bare(it), "two contents of a candle"
        wanted = range(clockwork.floor(begin + length - 1, length), clockwork.floor(end, length), length)
        assert not (missing := [clockwork.iso(at) for at in wanted if at not in seen]), f"{interval}: {missing}"
        for at, it in seen.items():
            self.check_content(it)
            assert it.received >= at + length, "a candle that was not closed"

    def check_content(self, it: Kline) -> None:
        """Its numbers are the market's."""
        tape, open_ms = self.tapes[it.symbol], it.timestamp // 1_000
        close_ms = open_ms + clockwork.duration(it.interval) // 1_000
        made = candle(tape, open_ms, close_ms, close_ms)
        assert made is not None
        ticks = (made.open, made.high, made.low, made.close)
        assert [it.open, it.high, it.low, it.close] == [round(tick * tape.listing.tick_size, 10) for tick in ticks]
        size = it.value if tape.listing.inverse else it.volume
        assert abs(size / (made.volume * tape.listing.step_size) - 1) < 1e-6
        assert it.trades in (None, made.trades)

    def pages(self, path: str) -> Counter[tuple[str, ...]]:
        """How often each page was asked for."""
        words = ("symbol", "interval", "startTime", "endTime", "fromId")
        return Counter(tuple(query.get(word, "") for word in words) for asked, query in self.asked if asked == path)


def bare(kline: Kline) -> Kline:
    """What it says, whoever brought it."""
    return msgspec.structs.replace(kline, received=0, source="ws", revision=0)


@contextlib.asynccontextmanager
async def scene(exchange: str, folder: Path, *, symbols: int = 1, rate: float = 40.0) -> AsyncIterator[Scene]:
    """A running scene; the market's clock starts at ``START_MS``."""
    began = time.monotonic()

    def clock() -> int:
        return START_MS * 1_000 + int((time.monotonic() - began) * QUICK * 1e6)

    with nats_server(folder / "nats") as server:
        client = await server.connect()
        try:
            await server.streams(client)
            for bucket in ("instruments", "cursors"):
                await client.jetstream().create_key_value(KeyValueConfig(bucket))
            quick = {"clock": clock, "monotonic": lambda: time.monotonic() * QUICK, "turn_s": 0.005}
            async with serve(Market(7, symbols, rate), **quick) as (simulator, port):  # type: ignore[arg-type]
                yield Scene(exchange, simulator, port, client, folder, clock)
        finally:
            await client.close()
