"""A market whose every trade is known, published as a producer would: hours of it at once, then as time passes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from itertools import groupby

from nats.aio.client import Client

from flowtape import bus
from schemas.events import Event, Funding, Liquidation, OpenInterest, Trade
from schemas.instruments import Instrument, encode
from schemas.names import BUCKET_INSTRUMENTS, HEADER_EVENTS, event_subject, payload
from schemas.settings import Settings
from simulator._market import Listing, Market
from simulator._tape import MINUTE_MS, Store, Tape

SPOT, FUTURES, DOLLAR = "sim_binance", "sim_binance_futures", "sim_coinbase"
SUM = "sim_all"
"""SPOT and DOLLAR as one, under BTC-USD."""
EVENTS_A_MESSAGE = 400
EVERY_S = 0.1


class MarketFeed:
    """Bitcoin at three exchanges and Ether at one. ``pause`` silences it as a dead producer would; time goes on."""

    def __init__(self, settings: Settings, *, rate: float, seed: int = 3) -> None:
        self._settings = settings
        market = Market(seed, 2, rate)
        store = Store()
        btc, eth = market.coins
        listings = (
            (SPOT, Listing("binance", "BTCUSDT", btc, "USDT", "", 2, 5)),
            (SPOT, Listing("binance", "ETHUSDT", eth, "USDT", "", 2, 4)),
            (FUTURES, Listing("binance_futures", "BTCUSDT", btc, "USDT", "USDT", 1, 3, perpetual=True)),
            (DOLLAR, Listing("coinbase", "BTC-USD", btc, "USD", "", 2, 8)),
        )
        self.tapes = {its.canonical: (exchange, Tape(market, its, store)) for exchange, its in listings}
        self.running = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._nats: Client | None = None

    def start(self, minutes: int) -> None:
        """Publish the last ``minutes`` whole minutes, and go on from there."""
        self._thread.start()
        self._call(self._begin(minutes))
        self.running.set()

    def publish(self, *events: Event) -> None:
        """Events of one's own, in order; they are in the log when it returns."""
        self._call(self._send(events))

    def put(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        """Anything at all."""
        assert self._nats is not None
        self._call(self._nats.jetstream().publish(subject, data, headers=headers))

    def stop(self) -> None:
        """End; the thread is gone when it returns."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def trades(self, symbol: str, after_ms: int, until_ms: int) -> list[Trade]:
        """Every trade after ``after_ms`` and up to ``until_ms``."""
        exchange, tape = self.tapes[symbol]
        now = time.time_ns() // 1000
        listing = tape.listing
        made = []
        for minute in range((after_ms + 1) // MINUTE_MS, until_ms // MINUTE_MS + 1):
            columns = tape.minute(minute)
            for n, (at_ms, ticks, steps, maker, _) in enumerate(columns.rows):
                if after_ms < at_ms <= until_ms:
                    price = round(ticks * listing.tick_size, listing.price_decimals)
                    size = round(steps * listing.step_size, listing.quantity_decimals)
                    number = str(columns.first_id + n)
                    made.append(Trade(exchange, symbol, at_ms * 1000, now, number, price, size, price * size, maker))
        return made

    async def _begin(self, minutes: int) -> None:
        self._nats = await bus.connect(self._settings, "admin", reconnect=False)
        bucket = await self._nats.jetstream().key_value(BUCKET_INSTRUMENTS)
        for symbol, (exchange, tape) in self.tapes.items():
            instrument = _instrument(exchange, symbol, tape.listing)
            await bucket.put(f"{exchange}.{symbol}", encode(instrument))
        now_ms = time.time_ns() // 1_000_000
        await self._move(now_ms - now_ms % MINUTE_MS - minutes * MINUTE_MS, now_ms)
        self._tasks.append(asyncio.create_task(self._live(now_ms)))

    async def _live(self, after_ms: int) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            if self.running.is_set():
                now_ms = time.time_ns() // 1_000_000
                await self._move(max(after_ms, now_ms - 2 * MINUTE_MS), now_ms)
                after_ms = now_ms

    async def _move(self, after_ms: int, until_ms: int) -> None:
        """Everything of that time, minute by minute as the log would have got it."""
        for minute in range(after_ms // MINUTE_MS, until_ms // MINUTE_MS + 1):
            begin, end = max(after_ms, minute * MINUTE_MS - 1), min(until_ms, (minute + 1) * MINUTE_MS - 1)
            for symbol, (exchange, tape) in self.tapes.items():
                trades = self.trades(symbol, begin, end)
                await self._send(trades)
                if exchange == FUTURES:
                    await self._send(_forced(tape, trades))
                    if begin < minute * MINUTE_MS and trades:
                        await self._send(_positions(trades[0]))

    async def _send(self, events: Iterable[Event]) -> None:
        assert self._nats is not None
        context = self._nats.jetstream()
        for subject, group in groupby(events, key=event_subject):
            of_subject = list(group)
            for n in range(0, len(of_subject), EVENTS_A_MESSAGE):
                some = of_subject[n : n + EVENTS_A_MESSAGE]
                headers = {HEADER_EVENTS: str(len(some))} if len(some) > 1 else None
                await context.publish(subject, payload(some), headers=headers)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._nats is not None:
            await self._nats.close()

    def _call(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)


def _instrument(exchange: str, symbol: str, listing: Listing) -> Instrument:
    return Instrument(
        exchange, symbol, listing.symbol, listing.coin.name, listing.quote, listing.quote,
        "perpetual" if listing.perpetual else "spot", tick_size=listing.tick_size, quantity_step=listing.step_size,
        valid_from=1,
    )  # fmt: skip


def _forced(tape: Tape, trades: list[Trade]) -> list[Liquidation]:
    """A liquidation for each large trade: enough of them to look at."""
    large = sorted(trades, key=lambda trade: -trade.value)[: len(trades) // 150]
    return [
        Liquidation(
            trade.exchange, trade.symbol, trade.timestamp, trade.received, f"L{trade.trade_id}",
            "long" if trade.is_buyer_maker else "short", trade.price, trade.quantity, trade.value, "sampled",
        )
        for trade in sorted(large, key=lambda trade: trade.timestamp)
    ]  # fmt: skip


def _positions(trade: Trade) -> list[Event]:
    minute = trade.timestamp - trade.timestamp % 60_000_000
    held = 81_000 + 400 * ((minute // 60_000_000 * 2654435761) % 997 / 997) + (minute // 60_000_000) % 240
    rate = 0.0001 * (1 + ((minute // 60_000_000) * 40503 % 101) / 101)
    following = minute - minute % 28_800_000_000 + 28_800_000_000
    return [
        OpenInterest(trade.exchange, trade.symbol, minute, trade.received, held, held * trade.price),
        Funding(trade.exchange, trade.symbol, minute, trade.received, rate, 8.0, following, trade.price, trade.price),
    ]
