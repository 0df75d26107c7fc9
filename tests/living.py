"""Real connections to the simulator of one exchange, in quick time and without NATS, and what it knows to be true."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from decimal import Decimal

from producers._connection import Connection, Surroundings
from producers._exchange import Options, Setup, directory, load
from producers._feeds import Feeds
from producers._polling import Polling
from producers._registry import fetch
from producers._rest import RestClient, redirected
from producers._transport import transport
from schemas import time as clockwork
from schemas.events import Trade, identity
from simulator._book import Book
from simulator._candles import candle, floor, following
from simulator._market import Market
from simulator._run import serve
from simulator._truth import truth

QUICK = 20.0
"""How much faster than ours the market's clock runs."""
HOUR_MS = 3_600_000
START_MS = 1_795_000_000_000 // (8 * HOUR_MS) * 8 * HOUR_MS - 20_000
"""Shortly before an hour at which every candle closes and every funding is due."""
INTERVALS = ("1m", "5m", "1h")
EVERY_US = 10_000_000


class Tray:
    """Keeps what comes out of the connections."""

    def __init__(self):
        self.events, self.letters = [], []

    def add(self, event):
        self.events.append(event)

    def dead(self, *letter):
        self.letters.append(letter)

    def of(self, kind, symbol=None):
        return [e for e in self.events if type(e) is kind and symbol in (None, e.symbol)]


class Live:
    """A venue's declaration at work on a simulated market: ``tray`` fills while it runs."""

    def __init__(self, exchange, simulator, port, clock, stop, folder):
        self.declared, self.simulator, self.tray = load(exchange), simulator, Tray()
        self.desk = simulator.hubs[exchange].desk
        self._clock = clock
        self._ws, http = f"ws://127.0.0.1:{port}/{exchange}", f"http://127.0.0.1:{port}/{exchange}"
        self.directory = directory(self.declared, exchange)
        options = Options(intervals=INTERVALS, funding_every=EVERY_US, open_interest_every=EVERY_US)
        self.setup = Setup(exchange, Feeds(self.directory), options)
        self.around = Surroundings(
            clock=clock, monotonic=lambda: time.monotonic() * QUICK, sleep=lambda s: asyncio.sleep(s / QUICK),
            rng=random.Random(1), connect=transport("websockets"), stop=stop,
        )  # fmt: skip
        self.rest = RestClient(self.declared.rest, http, folder, clock=clock, sleep=self.around.sleep)
        self.connections = []

    async def start(self, tasks):
        """Learn the instruments, subscribe everything, poll what has to be polled."""
        self.directory.learn(await fetch(self.declared, self.setup.exchange, self.rest))
        self.directory.complete = True
        natives = [self.directory.native(tape.listing.canonical) for tape in self.desk.tapes.values()]
        by_url = {}
        for word, channel in self.declared.channels.items():
            for native in natives if channel.topics else ():
                feed = self.setup.feeds.channel(word)[native]
                for url, name in channel.topics(native, self.setup.options):
                    by_url.setdefault(redirected(url, self._ws), {}).setdefault(name, (feed, channel.silence_s_max))
            for poll in filter(None, (channel.poll, channel.knowledge)):
                every_us = int(poll.every_s * 1e6) or EVERY_US
                polling = Polling(word, poll, self.setup, lambda: natives, every_us, self.rest, self.tray, self.around)
                tasks.append(asyncio.create_task(polling.run()))
        for url, topics in by_url.items():
            connection = Connection(self.declared, self.setup, url, topics, self.tray, self.around)
            self.connections.append(connection)
            tasks.append(asyncio.create_task(connection.run()))

    async def until(self, market_ms):
        """Wait for the market's clock."""
        await asyncio.sleep(max(0.0, market_ms / 1e3 - self._clock() / 1e6) / QUICK)

    @property
    def listings(self):
        """By canonical symbol."""
        return {tape.listing.canonical: tape.listing for tape in self.desk.tapes.values()}

    @property
    def tapes(self):
        """By canonical symbol."""
        return {tape.listing.canonical: tape for tape in self.desk.tapes.values()}

    # --- what has to be ----------------------------------------------------------------------------------------
    async def check_trades(self, number=lambda e: int(e.trade_id), count_min=20):
        """No hole in the market's own numbers of what was heard, and its own sums."""
        for symbol, tape in self.tapes.items():
            trades = {identity(e): e for e in self.tray.of(Trade, symbol)}
            ids = sorted(map(number, trades.values()))
            assert len(ids) >= count_min, f"{symbol}: {len(ids)} trades"
            assert ids == list(range(ids[0], ids[-1] + 1)), "a trade is missing"
            sums = await truth(self.desk, {"symbol": tape.listing.symbol, "from_id": ids[0], "to_id": ids[-1]})
            assert sums["count"] == len(ids)
            assert sums["buyer_maker"] == sum(e.is_buyer_maker for e in trades.values())
            for name in ("quantity", "value"):
                assert abs(sum(getattr(e, name) for e in trades.values()) / float(Decimal(sums[name])) - 1) < 1e-9

    def check_books(self, books, depth):
        """``books`` are (event, the market's ms of it)."""
        known = {symbol: Book(tape) for symbol, tape in self.tapes.items()}
        for it, at_ms in books:
            listing, sides = self.listings[it.symbol], known[it.symbol].at(at_ms, depth)
            for got, levels in zip((it.bids, it.asks), sides, strict=True):
                assert len(got) == depth
                for (price, quantity), (ticks, steps) in zip(got, levels, strict=True):
                    assert abs(price / (ticks * listing.tick_size) - 1) < 1e-12
                    size = steps * listing.step_size / (price if listing.inverse else 1.0)
                    assert abs(quantity / size - 1) < 1e-9

    def check_klines(self, klines, intervals=INTERVALS):
        """Closed ones only, as the market had them; every interval is there."""
        assert {e.interval for e in klines} == set(intervals)
        assert len({identity(e) for e in klines}) == len(klines), "a candle was told twice"
        for it in klines:
            listing, open_ms = self.listings[it.symbol], it.timestamp // 1_000
            close_ms = following(it.interval, open_ms)
            assert open_ms == floor(it.interval, open_ms)
            made = candle(self.tapes[it.symbol], open_ms, close_ms, close_ms)
            prices = [ticks * listing.tick_size for ticks in (made.open, made.high, made.low, made.close)]
            assert [it.open, it.high, it.low, it.close] == [round(price, 10) for price in prices]
            size = made.volume * listing.step_size
            assert abs((it.value if listing.inverse else it.volume) / size - 1) < 1e-6
            assert it.trades in (None, made.trades)
            assert it.received >= it.timestamp + clockwork.duration(it.interval)


@asynccontextmanager
async def live(exchange, folder, *, symbols=3, rate=60.0):
    """A running ``Live``; the market's clock starts at ``START_MS``."""
    began = time.monotonic()

    def clock():
        return START_MS * 1_000 + int((time.monotonic() - began) * QUICK * 1e6)

    stop, tasks = asyncio.Event(), []
    async with serve(
        Market(7, symbols, rate), clock=clock, monotonic=lambda: time.monotonic() * QUICK, turn_s=0.005
    ) as (simulator, port):
        it = Live(exchange, simulator, port, clock, stop, folder)
        try:
            await it.start(tasks)
            yield it
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            await it.rest.close()
