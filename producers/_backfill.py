"""What is missing of slow series, asked for over REST: history at the start, and what a socket fails to bring.

Two loops over the same plan. ``follow`` looks at each poll for candles that have closed since our start and have not
come: it is quick, and idle while sockets deliver. ``fill`` works off what is older, newest first and a page of each
series in turn, within a smaller share of the host's budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from producers._aggregate import aggregate, base_of
from producers._connection import Surroundings, backoff_s
from producers._coverage import Coverage, series
from producers._exchange import UNREADABLE, Channel, Past, Setup
from producers._outbox import Outbox
from producers._rest import RestClient, RestError
from producers._revisions import Revisions
from schemas import time
from schemas.events import Event, Kline

SHARE = 0.5
"""The part of the host's budget that history may use up; gaps may use more, what is live all of it."""
TOGETHER_MAX = 3
FOLLOW_TOGETHER_MAX = 4
PAGES_MAX = 100
"""Of one series in one poll."""
GRACE_US = 5 * time.SECOND
"""A candle that a socket has not told so long after its end is asked for."""
LAG_US = 10 * time.MINUTE
"""So much later at the most, history has rows of channels without candles."""
EMPTY_US = time.MINUTE
"""A candle that an answer lacks so long after its end held no trade."""
IDLE_US_MAX = 15 * time.MINUTE
"""How long a symbol that keeps having no candles is left alone."""
ATTEMPTS_MAX = 4
LOOK_S = 0.2
TEMPORARY = (0, 200, 403, 408, 418, 429)
log = structlog.get_logger()


class Plan(NamedTuple):
    """One series of a symbol: where it is asked for, and what becomes of it. ``slot``: µs, 0 where it has none."""

    word: str
    symbol: str
    native: str
    past: Past
    interval: str = ""
    base: str = ""
    """The interval that is asked for, a shorter one where the exchange lacks ``interval``."""
    slot: int = 0
    page: int = time.DAY
    """µs that one request reaches over."""
    streamed: bool = False
    """Whether a socket brings it too."""

    @property
    def series(self) -> str:
        """Its name in the coverage."""
        return series(self.word, self.interval)


class Page(NamedTuple):
    """A part of a series that was read: ``done`` is how far, µs, which may be before ``end``."""

    begin: int
    end: int
    done: int
    events: list[Event]


def plan(word: str, native: str, channel: Channel, interval: str, setup: Setup) -> Plan | None:
    """How a series can be read; None where the exchange has nothing it could be made of."""
    past, base = channel.past, interval
    if past is not None and interval and interval not in past.intervals:
        base = base_of(interval, past.intervals, past.rows_max) or ""
    if past is None or (interval and not base):
        return None
    slot = time.duration(interval) if interval else 0
    probe = past.request(native, base, 0, 1 << 62, setup)
    page = max(time.floor(probe.end - probe.start, slot), slot) if slot else probe.end - probe.start
    options = msgspec.structs.replace(setup.options, intervals=(interval,)) if interval else setup.options
    streamed = channel.topics is not None and len(channel.topics(native, options)) > 0
    symbol = setup.feeds.directory.of(native).symbol
    return Plan(word, symbol, native, past, interval, base, slot, page, streamed)


class Reader:
    """Reads pages, newest first, and hands on what they hold."""

    def __init__(self, setup: Setup, rest: RestClient, sink: Revisions, outbox: Outbox, around: Surroundings) -> None:
        self._setup, self._rest, self._sink, self._outbox, self._around = setup, rest, sink, outbox, around
        self.counts = dict.fromkeys(("pages", "events", "errors"), 0)

    async def page(self, its: Plan, begin: int, end: int, *, share: float) -> Page:
        """The newest page of ``begin`` to before ``end``. Raises RestError, or one of UNREADABLE."""
        begin = max(begin, end - its.page)
        request = its.past.request(its.native, its.base, begin, end, self._setup)
        body = await self._rest.get(request, share=share)
        received = self._around.clock()
        try:
            events = list(its.past.parse(body, request, received, self._setup))
        except UNREADABLE as error:
            self._sink.dead(its.word, self._setup.exchange, body, f"history: {error}", request.url)
            raise
        self.counts["pages"] += 1
        return self._page(its, begin, min(end, request.end), received, events)

    def _page(self, its: Plan, begin: int, end: int, received: int, events: list[Event]) -> Page:
        if not its.slot:
            return Page(begin, end, end, events)
        end = time.floor(end, its.slot)
        candles = [event for event in events if isinstance(event, Kline) and begin <= event.timestamp < end]
        told = aggregate(candles, its.interval) if its.base != its.interval else candles
        latest = told[-1].timestamp + its.slot if told else begin
        return Page(begin, end, min(end, max(latest, time.floor(received - EMPTY_US, its.slot))), list(told))

    def tell(self, page: Page) -> None:
        """Hand the events on."""
        for event in page.events:
            self._sink.add(event)
        self.counts["events"] += len(page.events)

    async def tell_in_bulk(self, page: Page) -> None:
        """Hand the events on, many in one message, and wait until the log has them."""
        self._sink.add_past(page.events)
        self.counts["events"] += len(page.events)
        stored = self._outbox.fence()
        while not stored() and not self._around.stop.is_set():
            await self._around.sleep(LOOK_S)


class _State:
    """How a series stands."""

    __slots__ = ("attempts", "busy", "due", "empties", "rest", "turns")

    def __init__(self) -> None:
        self.busy = False
        self.turns = self.attempts = 0
        self.rest = 0
        """Until when ``fill`` lets it be, µs."""
        self.empties = self.due = 0
        """Answers in a row without what was asked for, and until when ``follow`` lets it be, µs."""


class Backfill:
    """Works until told to stop. ``natives`` gives the symbols wanted now; ``back_us`` is how far history reaches.

    ``connected`` says whether any socket stands: while none does, nothing that is missing is left for later.
    """

    def __init__(
        self, channels: Mapping[str, Channel], setup: Setup, reader: Reader, coverage: Coverage, around: Surroundings,
        *, natives: Callable[[], Sequence[str]], connected: Callable[[], bool], back_us: int,
    ) -> None:  # fmt: skip
        self._channels = {word: its for word, its in channels.items() if its.past is not None}
        self._setup, self._reader, self._coverage, self._around = setup, reader, coverage, around
        self._natives, self._connected, self._back_us = natives, connected, back_us
        self._began = around.clock()
        self._plans: dict[tuple[str, str], tuple[Plan, _State] | None] = {}
        self._lacking: set[str] = set()
        self._pages = self._failures = 0

    # --- what is to be had -------------------------------------------------------------------------------------
    def _planned(self) -> Iterator[tuple[Plan, _State]]:
        """All series of the symbols wanted now."""
        for native in self._natives():
            for word, channel in self._channels.items():
                for interval in self._setup.options.intervals if word == "klines" else ("",):
                    key = native, series(word, interval)
                    if key not in self._plans:
                        self._plans[key] = self._plan(word, native, channel, interval)
                    if (planned := self._plans[key]) is not None:
                        yield planned

    def _plan(self, word: str, native: str, channel: Channel, interval: str) -> tuple[Plan, _State] | None:
        its = plan(word, native, channel, interval, self._setup)
        if its is not None:
            return its, _State()
        if interval not in self._lacking:
            self._lacking.add(interval)
            log.warning("interval_unavailable", exchange=self._setup.exchange, interval=interval)
        return None

    def _bounds(self, its: Plan) -> tuple[int, int]:
        """Where history begins, and where it ends and ``follow`` takes over."""
        begin, last = self._began - self._back_us, self._coverage.of(its.symbol, its.series).last
        if last is not None or not self._back_us:
            begin = min(begin, last or self._began)
        if its.past.reach_s:
            begin = max(begin, self._began - int(its.past.reach_s * time.SECOND))
        if its.past.reach_rows and its.base:
            begin = max(begin, self._began - its.past.reach_rows * time.duration(its.base))
        return (time.floor(begin, its.slot), time.floor(self._began, its.slot)) if its.slot else (begin, self._began)

    def _missing(self, its: Plan) -> list[tuple[int, int]]:
        return self._coverage.of(its.symbol, its.series).missing(*self._bounds(its))

    def _from(self, its: Plan, first: int) -> int:
        """Where to ask from: a candle that came before is asked for again, and told anew where it was corrected."""
        before = self._coverage.of(its.symbol, its.series).missing(first - its.slot, first)
        return first if before else first - its.slot

    # --- what has just closed ----------------------------------------------------------------------------------
    async def follow(self) -> None:
        """At each poll ask for what should have come and has not, until told to stop."""
        every = self._setup.options.klines_every
        while not self._around.stop.is_set():
            now = self._around.clock()
            await self._around.pause((every - (now - GRACE_US) % every) / time.SECOND)
            waiting = deque(self._planned())
            async with asyncio.TaskGroup() as tasks:
                for _ in range(FOLLOW_TOGETHER_MAX):
                    tasks.create_task(self._work_off(waiting))

    async def _work_off(self, waiting: deque[tuple[Plan, _State]]) -> None:
        while waiting and not self._around.stop.is_set():
            its, state = waiting.popleft()
            try:
                await self._catch_up(its, state)
            except RestError as error:
                self._problem(its, error)
                if error.status in TEMPORARY or error.status >= 500:
                    waiting.clear()  # what fails for one now would fail for all: the next poll asks again
            except UNREADABLE as error:
                self._problem(its, error)

    async def _catch_up(self, its: Plan, state: _State) -> None:
        spans, begin = self._coverage.of(its.symbol, its.series), self._bounds(its)[1]
        now = self._around.clock()
        edge = time.floor(now - self._grace(its), its.slot) if its.slot else now - LAG_US
        missing = spans.missing(begin, edge)
        if not missing or (now < state.due and self._connected()):
            return
        came = False
        for _ in range(PAGES_MAX):
            first, end = missing[0]
            page = await self._reader.page(its, self._from(its, first), end, share=1.0)
            self._reader.tell(page)
            self._coverage.done(its.symbol, its.series, page.begin, page.done)
            came |= any(event.timestamp >= first for event in page.events)
            if not (left := spans.missing(begin, edge)) or left == missing:
                break
            missing = left
        # A symbol that does not trade has no candles: the longer that lasts, the more are asked for at once.
        state.empties = 0 if came else state.empties + 1
        patience = IDLE_US_MAX if its.streamed else max(its.slot, self._setup.options.klines_every)
        wait = self._setup.options.klines_every << min(state.empties - 1, 20) if state.empties else 0
        state.due = now + min(wait, patience)

    def _grace(self, its: Plan) -> int:
        """How long after its end a candle may still come by itself."""
        polled = self._channels[its.word].poll is not None
        return GRACE_US + (self._setup.options.klines_every if polled else 0)

    # --- what is older -----------------------------------------------------------------------------------------
    async def fill(self) -> None:
        """Work off history until told to stop."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TOGETHER_MAX):
                tasks.create_task(self._lane())

    async def _lane(self) -> None:
        while not self._around.stop.is_set():
            turn = self._next() if self._coverage.loaded else None
            if turn is None:
                await self._around.pause(1.0)
                continue
            its, state = turn
            state.busy, state.turns = True, state.turns + 1
            try:
                first, end = self._missing(its)[0]
                page = await self._reader.page(its, self._from(its, first), end, share=SHARE)
                await self._reader.tell_in_bulk(page)
                if not self._around.stop.is_set():
                    self._coverage.done(its.symbol, its.series, page.begin, page.done)
                    self._pages += 1
                    state.attempts = self._failures = 0
                    if page.done < end:  # the exchange has not made its latest candle yet
                        state.rest = self._around.clock() + self._setup.options.klines_every
            except (RestError, *UNREADABLE) as error:
                await self._failed(its, state, error)
            finally:
                state.busy = False

    async def _failed(self, its: Plan, state: _State, error: Exception) -> None:
        self._problem(its, error)
        if not isinstance(error, RestError) or (error.status not in TEMPORARY and error.status < 500):
            state.attempts += 1
        self._failures += 1
        await self._around.pause(backoff_s(self._failures, self._around.rng))

    def _next(self) -> tuple[Plan, _State] | None:
        """The series whose turn it is: of those that lack something the one asked for the fewest times."""
        now = self._around.clock()
        waiting = [
            (its, state)
            for its, state in self._planned()
            if not state.busy and state.attempts < ATTEMPTS_MAX and state.rest <= now and self._missing(its)
        ]
        return min(waiting, key=lambda turn: turn[1].turns, default=None)

    def _problem(self, its: Plan, error: Exception) -> None:
        self._reader.counts["errors"] += 1
        log.warning("backfill_failed", exchange=self._setup.exchange, symbol=its.symbol, series=its.series,
                    error=f"{type(error).__name__}: {error}"[:300])  # fmt: skip

    def health(self) -> dict[str, Any]:
        """Counters, pages read and left, and the series that were given up."""
        given_up = [f"{its.symbol} {its.series}" for its, state in self._planned() if state.attempts >= ATTEMPTS_MAX]
        return self._reader.counts | {"read": self._pages, "left": self._left(), "given_up": given_up[:20]}

    def summary(self) -> str:
        """How far it has come, in a few words; empty once all is there."""
        if not self._coverage.loaded:
            return "waits for the log"
        left = self._left()
        return f"{self._pages} of {self._pages + left} pages" if left else ""

    def _left(self) -> int:
        """Pages that are still to be read."""
        waiting = [its for its, state in self._planned() if state.attempts < ATTEMPTS_MAX]
        return sum(-((begin - end) // its.page) for its in waiting for begin, end in self._missing(its))
