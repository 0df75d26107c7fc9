"""A producer process: connections and polls for what the configuration asks of one exchange, and their health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client

from producers._claim import claim
from producers._connection import Connection, Surroundings, alternates, backoff_s
from producers._evidence import Evidence
from producers._exchange import Channel, Setup, directory, load
from producers._feeds import Feed, Feeds
from producers._first import FirstTrades
from producers._holes import gaps
from producers._ledger import Ledger
from producers._outbox import Outbox
from producers._plan import ALL, options, ranked, sockets
from producers._polling import Polling
from producers._registry import Incomplete, Registry, fetch, near, trading, volumes
from producers._rest import RestClient, RestError
from producers._revisions import Revisions
from producers._slow import Slow
from producers._spool import Spool
from schemas import time
from schemas.events import Clock
from schemas.instruments import Instrument
from schemas.settings import ConfigError, ExchangeSettings, Settings

REFRESH_S, RETRY_S_MAX = 3600.0, 60.0
CLOSE_S_MAX = 10.0
log = structlog.get_logger()


class Worker:
    """Everything one process does for one exchange. ``words`` are the channels this process is for."""

    def __init__(
        self, exchange: str, words: Sequence[str], name: str, settings: Settings, nats: Client, around: Surroundings,
        health: dict[str, Any],
    ) -> None:  # fmt: skip
        try:
            self._id, self._declared = exchange, load(exchange)
        except KeyError as error:
            raise ConfigError("configuration", f"exchanges.{exchange}", "there is no producer for it") from error
        self._its: ExchangeSettings = settings.exchanges.get(exchange) or ExchangeSettings()
        self._around, self._health = around, health
        wanted = self._its.channels or list(self._declared.channels)
        self._channels = {w: c for w, c in self._declared.channels.items() if w in words and w in wanted}
        self._directory = directory(self._declared, exchange)
        feeds = Feeds(self._directory)
        self._setup = Setup(exchange, feeds, options(self._its, settings, self._channels))
        data = Path(settings.data_dir)
        self._claim = claim(data / "spool", f"{exchange}-{name}")
        spool = Spool(data / "spool", self._claim.stem, settings.producer.spool)
        self._outbox = Outbox(
            nats, spool, memory=settings.producer.memory, clock=around.clock, monotonic=around.monotonic,
            sleep=around.sleep,
        )  # fmt: skip
        revisions = Revisions(self._outbox)
        # The hot path stays free of what only the slow channels need.
        self._sink = revisions if any(channel.past for channel in self._channels.values()) else self._outbox
        self._rest = RestClient(
            self._declared.rest, self._its.rest_url, data / "budget", clock=around.clock, sleep=around.sleep
        )  # fmt: skip
        self._registry = Registry(nats, exchange, around.clock)
        follows = "trades" in self._channels
        self._ledger = Ledger(self._declared, self._setup, nats, self._rest, self._outbox, around) if follows else None
        history, recent, self._first = self._declared.history, self._declared.recent, None
        if self._ledger is not None and (history or recent) is not None and settings.trades.backfill:
            self._first = FirstTrades(
                history, recent, self._setup, nats, self._rest, self._outbox, around, back_us=settings.trades.backfill,
                feeds=self._ledger.fresh, opened=self._ledger.open,
            )  # fmt: skip
        self._slow = None
        if self._sink is revisions:
            self._slow = Slow(
                self._channels, self._setup, nats, self._rest, self._outbox, revisions, around,
                natives=lambda: self._natives, connected=self._connected, back_us=settings.klines.backfill,
            )  # fmt: skip
        recent = self._declared.recent if follows else None
        self._evidence = (
            Evidence(recent, self._setup, self._rest, around, self._renew) if recent is not None else None
        )  # fmt: skip
        self._natives: list[str] = []
        self._connections: list[Connection] = []
        self._polls: list[Polling] = []
        self._unknown: list[str] = []
        self._existed = False
        """Whether the exchange's list ever had something of what is configured."""
        self._with_clock = "trades" in words
        self._told = 0

    async def run(self) -> None:
        """Work until told to stop; then send or spool what is left. Raises ConfigError if no symbol exists."""
        outbox = self._sending = asyncio.create_task(self._outbox.run())
        try:
            if not self._channels:
                await self._around.stop.wait()
            async with asyncio.TaskGroup() as tasks:
                if self._channels:
                    self._directory.learn(await self._registry.load())
                    if self._ledger is not None:
                        await self._ledger.load()
                        tasks.create_task(self._ledger.run())
                        tasks.create_task(self._ledger.fill())
                    if self._slow is not None:
                        await self._slow.start(tasks)
                    self._reconcile(tasks)
                    if self._first is not None:
                        tasks.create_task(self._around.heed(self._first.run()))
                    tasks.create_task(self._around.heed(self._refresh(tasks)))
                    if self._evidence is not None:
                        tasks.create_task(self._around.heed(self._evidence.run()))
                tasks.create_task(self._tick())
                for word, channel in self._channels.items():
                    self._poll(word, channel, tasks)
        except* ConfigError as group:
            raise group.exceptions[0] from None
        finally:
            self._outbox.stop()
            await asyncio.gather(outbox, return_exceptions=True)
            await self._outbox.close(CLOSE_S_MAX)
            closing: tuple[Ledger | FirstTrades | Slow | None, ...] = (self._ledger, self._first, self._slow)
            for its in closing:
                if its is not None:
                    await its.close()
            await self._rest.close()
            self._claim.release()
            self._report()

    # --- symbols -----------------------------------------------------------------------------------------------
    async def _refresh(self, tasks: asyncio.TaskGroup) -> None:
        """Read the exchange's instruments, again and again; ingest goes on without them."""
        failures = 0
        ranks: dict[str, float] = {}
        while not self._around.stop.is_set():
            listed: list[Instrument] = []
            problem: RestError | None = None
            try:
                listed = await fetch(self._declared, self._id, self._rest)
                if ALL in self._its.symbols:
                    ranks = ranks or await volumes(self._declared, self._rest)
            except Incomplete as error:
                # Of a part nothing can be ranked; what is named explicitly can be looked up in it.
                problem, listed = error, [] if ALL in self._its.symbols else error.instruments
            except RestError as error:
                problem, listed = error, []
            if listed:
                await self._learn(listed, tasks, ranks, whole=problem is None)
            if problem is None:
                failures = 0
                await self._around.pause(REFRESH_S)
            else:
                failures += 1
                log.warning("instruments_unavailable", exchange=self._id, error=str(problem)[:300])
                await self._around.pause(backoff_s(failures, self._around.rng, RETRY_S_MAX))

    async def _learn(
        self, listed: list[Instrument], tasks: asyncio.TaskGroup, ranks: dict[str, float], *, whole: bool
    ) -> None:
        """Take in the exchange's list, follow what it changes, and write it to the registry."""
        found, clashes = trading(listed)
        self._refuse_clashes(clashes)
        clear = [instrument for instrument in found if instrument.symbol not in clashes]
        gone = self._directory.replace(clear) if whole else []
        self._directory.learn(clear)
        self._setup.feeds.refresh()
        self._reconcile(tasks, ranks)
        for instrument in gone:
            log.info("delisted", exchange=self._id, symbol=instrument.symbol)
        await self._registry.store([*found, *(msgspec.structs.replace(it, status="delisted") for it in gone)])

    def _refuse_clashes(self, clashes: dict[str, list[str]]) -> None:
        for symbol, natives in clashes.items():
            log.error("symbol_ambiguous", exchange=self._id, symbol=symbol, instruments=natives)
            if symbol in self._its.symbols:
                raise ConfigError("configuration", f"exchanges.{self._id}.symbols",
                                  f"{symbol} could be any of {', '.join(natives)}")  # fmt: skip

    def _reconcile(self, tasks: asyncio.TaskGroup, ranks: dict[str, float] | None = None) -> None:
        """Follow what the configuration means by now: drop what does not exist, add what does."""
        wanted = self._wanted(ranks or {})
        gone = set(self._natives) - set(wanted)
        for connection in self._connections:
            connection.drop(gone)
        fresh = [native for native in wanted if native not in set(self._natives)]
        self._natives = wanted
        if "trades" in self._channels and self._ledger is not None:
            for native in fresh:
                self._ledger.begin(self._setup.feeds.channel("trades")[native])
        for url, part in sockets(self._declared, self._channels, self._setup, fresh, self._its.ws_url):
            delay_s = len(self._connections) / self._declared.limits.connects_per_s
            connection = Connection(
                self._declared, self._setup, url, part, self._sink, self._around, delay_s,
                others=[] if self._its.ws_url else alternates(self._declared, url),
            )  # fmt: skip
            self._connections.append(connection)
            tasks.create_task(connection.run())

    def _renew(self, feed: Feed, reason: str) -> None:
        for connection in self._connections:
            connection.renew(feed, reason)

    def _wanted(self, ranks: dict[str, float]) -> list[str]:
        """The exchange's own spelling of what is configured. Raises ConfigError where nothing of it exists."""
        if ALL in self._its.symbols:
            return ranked(self._directory, ranks, self._natives, self._its.max_symbols)
        found, self._unknown = [], []
        for name in self._its.symbols:
            native = self._directory.native(name)
            if native is None:
                self._unknown.append(name)
            elif native not in found:
                found.append(native)
        # A naming rule cannot know every contract's size; only the exchange's own list can call a symbol unknown.
        if self._unknown and self._directory.complete:
            self._complain(found)
        self._existed |= bool(found) and self._directory.complete
        return found

    def _complain(self, found: list[str]) -> None:
        hints = {name: near(name, self._directory) for name in self._unknown}
        problem = "; ".join(
            f"{self._id} has no {name!r}" + (f", near are {', '.join(like)}" if like else "")
            for name, like in hints.items()
        )
        if not (found or self._existed):  # what was there once may go, and that ends nothing
            raise ConfigError("configuration", f"exchanges.{self._id}.symbols", problem)
        log.error("symbols_unknown", exchange=self._id, problem=problem)

    # --- the rest ----------------------------------------------------------------------------------------------
    def _poll(self, word: str, channel: Channel, tasks: asyncio.TaskGroup) -> None:
        options = self._setup.options
        paces = {"open_interest": options.open_interest_every, "klines": options.klines_every}
        for poll in filter(None, (channel.poll, channel.knowledge)):
            every_us = int(poll.every_s * time.SECOND) or paces.get(word, options.funding_every)
            polling = Polling(word, poll, self._setup, lambda: self._natives, every_us, self._rest, self._sink,
                              self._around)  # fmt: skip
            self._polls.append(polling)
            tasks.create_task(self._around.heed(polling.run()))

    async def _tick(self) -> None:
        """Once a second: the exchange's clock, holes, health."""
        while not self._around.stop.is_set():
            await self._around.pause(1.0)
            if self._sending.done():
                self._sending.result()  # publishing must not end before we do: pass on what ended it
            now = self._around.clock()
            latest = max((connection.latest for connection in self._connections), default=0)
            if self._with_clock and latest > self._told:
                self._told = latest
                self._outbox.tick(Clock(self._id, latest, now))
            for gap in gaps(self._setup, self._channels, now):
                (self._ledger.open if self._ledger is not None else self._outbox.add)(gap)
            self._report()

    def _connected(self) -> bool:
        return any(connection.state["connected"] for connection in self._connections)

    def _report(self) -> None:
        feeds = [feed for feed in self._setup.feeds.all() if feed.channel in self._channels]
        states = [connection.state for connection in self._connections]
        self._health.update(
            exchange=self._id, symbols=len(self._natives), unknown=self._unknown, outbox=self._outbox.health(),
            rest=self._rest.health(), exchange_time=self._told, frames=sum(feed.frames for feed in feeds),
            repeats=sum(feed.repeats for feed in feeds), resets=sum(feed.resets for feed in feeds),
            breaks=sum(feed.breaks for feed in feeds),
            connected=sum(state["connected"] for state in states), connections=len(states),
            reconnects=sum(state["reconnects"] for state in states),
            causes=_added((cause, count) for state in states for cause, count in state["causes"].items()),
            channels=_added((feed.channel, feed.frames) for feed in feeds),
            bad_frames=sum(state["bad_frames"] for state in states),
            rejected=[topic for state in states for topic in state["rejected"]][:20],
            alarms={state["url"]: state["alarm"] for state in states if state["alarm"]},
            evidence=self._evidence.health() if self._evidence is not None else {},
            silent={topic: s for state in states for topic, s in state["silent"].items()},
            gaps=self._ledger.health() if self._ledger is not None else {},
            backfill=its.summary() if (its := self._slow or self._first) is not None else "",
            history=its.health() if its is not None else {},
            polls={polling.name: polling.counts for polling in self._polls},
        )  # fmt: skip


def _added(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Sums by word."""
    sums: dict[str, int] = {}
    for word, count in counts:
        sums[word] = sums.get(word, 0) + count
    return sums
