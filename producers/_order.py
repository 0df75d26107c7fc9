"""A part of history as somebody asked for it: one symbol, one channel, a range, newest first.

What was read is in the log, with the identities it would have had live, so asking again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from nats.aio.client import Client

from producers._backfill import LOOK_S, SHARE, TEMPORARY, Plan, Reader, plan
from producers._claim import claim
from producers._connection import Surroundings, backoff_s
from producers._exchange import UNREADABLE, NoProducer, Options, Page, Recent, Request, Setup, directory, load
from producers._feeds import Feeds
from producers._outbox import Outbox
from producers._registry import Registry, fetch, near
from producers._rest import NoBudget, RestClient, RestError
from producers._revisions import Revisions
from producers._slices import LENGTH_US, SliceTooLarge
from producers._slices import read as read_slice
from producers._spool import Spool
from schemas import time
from schemas.settings import ConfigError, ExchangeSettings, Settings

ATTEMPTS_MAX = 8
"""Of one page, with a pause that doubles up to half a minute."""
CLOSE_S_MAX = 30.0
WORDS = ("trades", "klines", "open_interest", "funding")
T = TypeVar("T")
_SOURCE = "command line"


class Order(NamedTuple):
    """What is asked for: ``begin`` to before ``end`` in µs; ``intervals`` of candles."""

    word: str
    exchange: str
    symbol: str
    begin: int
    end: int
    intervals: tuple[str, ...] = ()


class Progress(NamedTuple):
    """How far it has come: µs done and asked for, and events told. ``since``: the exchange serves none before."""

    done: int
    total: int
    events: int
    since: int = 0


class Clerk:
    """Carries out one order."""

    def __init__(self, order: Order, settings: Settings, nats: Client, around: Surroundings) -> None:
        try:
            self._declared = load(order.exchange)
        except NoProducer as error:
            raise ConfigError(_SOURCE, order.exchange, "there is no producer for it") from error
        self._order, self._around = order, around
        its = settings.exchanges.get(order.exchange) or ExchangeSettings()
        data = Path(settings.data_dir)
        self._directory = directory(self._declared, order.exchange)
        options = Options(
            funding_every=settings.poll.funding, open_interest_every=settings.poll.open_interest,
            intervals=order.intervals,
        )  # fmt: skip
        self._setup = Setup(order.exchange, Feeds(self._directory), options)
        self._claim = claim(data / "spool", f"{order.exchange}-backfill")
        self._outbox = Outbox(
            nats, Spool(data / "spool", self._claim.stem, settings.producer.spool), memory=settings.producer.memory,
            clock=around.clock, monotonic=around.monotonic, sleep=around.sleep,
        )  # fmt: skip
        self._rest = RestClient(
            self._declared.rest, its.rest_url, data / "budget", clock=around.clock, sleep=around.sleep
        )
        self._registry = Registry(nats, order.exchange, around.clock)
        self._reader = Reader(self._setup, self._rest, Revisions(self._outbox), self._outbox, around)

    async def run(self, told: Callable[[Progress], None]) -> Progress:
        """Read, publish and wait for the log; ``told`` hears of each page. Raises ConfigError, RestError."""
        sending = asyncio.create_task(self._outbox.run())
        try:
            return await self._around.heed(self._work(told)) or Progress(0, 0, 0)
        finally:
            self._outbox.stop()
            await asyncio.gather(sending, return_exceptions=True)
            await self._outbox.close(CLOSE_S_MAX)
            await self._rest.close()
            self._claim.release()

    async def _work(self, told: Callable[[Progress], None]) -> Progress:
        native = await self._native()
        total = Progress(0, 0, 0)
        for page in self._trades(native) if self._order.word == "trades" else self._series(native):
            total = await page
            told(total)
        return total

    async def _native(self) -> str:
        """The exchange's spelling of the symbol."""
        self._directory.learn(await self._registry.load())
        found = await self._patiently(lambda: fetch(self._declared, self._order.exchange, self._rest))
        self._directory.learn(found)
        self._directory.complete = True
        native = self._directory.native(self._order.symbol)
        if native is None:
            like = near(self._order.symbol, self._directory)
            hint = f"; near are {', '.join(like)}" if like else ""
            raise ConfigError(_SOURCE, self._order.symbol, f"{self._order.exchange} has no such symbol{hint}")
        return native

    # --- klines, open interest, funding ------------------------------------------------------------------------
    def _plans(self, native: str) -> list[Plan]:
        word, exchange = self._order.word, self._order.exchange
        channel = self._declared.channels.get(word)
        if channel is None or channel.past is None:
            raise ConfigError(_SOURCE, word, f"{exchange} has no history of it")
        found = []
        for interval in self._order.intervals if word == "klines" else ("",):
            its = plan(word, native, channel, interval, self._setup)
            if its is None:
                offered = ", ".join(channel.past.intervals)
                raise ConfigError(_SOURCE, interval, f"{exchange} has no candles of this length; it has {offered}")
            found.append(its)
        return found

    def _series(self, native: str) -> Iterator[Awaitable[Progress]]:
        """A page of each series in turn, newest first."""
        plans = self._plans(native)
        left = {its: self._bounds(its) for its in plans}
        total, state = sum(end - begin for begin, end in left.values()), [0]

        async def step(its: Plan) -> Progress:
            begin, end = left[its]
            page = await self._patiently(lambda: self._reader.page(its, begin, end, share=SHARE))
            await self._reader.tell_in_bulk(page)
            left[its] = begin, page.begin
            state[0] += end - page.begin
            return Progress(state[0], total, self._reader.counts["events"])

        while waiting := [its for its in plans if left[its][0] < left[its][1]]:
            for its in waiting:
                yield step(its)

    def _bounds(self, its: Plan) -> tuple[int, int]:
        """The order's range in whole candles that are closed."""
        begin, end = self._order.begin, min(self._order.end, self._around.clock())
        if its.slot:
            begin, end = time.floor(begin + its.slot - 1, its.slot), time.floor(end, its.slot)
        return begin, max(begin, end)

    # --- trades ------------------------------------------------------------------------------------------------
    def _trades(self, native: str) -> Iterator[Awaitable[Progress]]:
        recent = self._declared.recent
        if recent is None or "trades" not in self._declared.channels:
            raise ConfigError(_SOURCE, "trades", f"{self._order.exchange} has no history of trades")
        begin, now = self._order.begin, self._around.clock()
        end = min(self._order.end, now)
        if recent.reach_s:
            begin = max(begin, now - int(recent.reach_s * time.SECOND))
        at, events, since = [end], [0], [begin if begin > self._order.begin else 0]

        async def step() -> Progress:
            first = max(at[0] - LENGTH_US, begin)
            ask = partial(self._ask, recent)
            found = await self._patiently(lambda: read_slice(recent, native, first, at[0], ask))
            for row in found.rows:
                for event in row.events:
                    self._outbox.add_bulk(event)
                    events[0] += 1
            stored = self._outbox.fence()
            while not stored() and not self._around.stop.is_set():
                await self._around.sleep(LOOK_S)
            at[0] = first
            if found.begin > first:
                at[0], since[0] = begin, found.begin
            return Progress(end - at[0], max(end - begin, 1), events[0], since[0])

        while at[0] > begin:
            yield step()

    async def _ask(self, recent: Recent, request: Request) -> Page:
        body = await self._rest.get(request, share=SHARE)
        return recent.parse(body, request, self._around.clock(), self._setup)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """An answer, asked for again while what stands in the way may pass. Raises RestError."""
        said: RestError | None = None
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await ask()
            except NoBudget as error:
                raise said or error from error
            except RestError as error:
                said = error
                lasting = error.status not in TEMPORARY and error.status < 500
                if lasting or attempt == ATTEMPTS_MAX or self._around.stop.is_set():
                    raise
            except (*UNREADABLE, SliceTooLarge) as error:
                url = self._declared.rest.instruments[0].url if self._declared.rest.instruments else ""
                raise RestError(url, 200, f"an answer that cannot be read: {error}") from error
            await self._around.pause(backoff_s(attempt, self._around.rng))
        raise AssertionError("unreachable")
