"""Trades of the hours before a symbol's first start: read backwards from the first one heard, so that charts fill
from the right, with the ids and times that listening would have brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import msgspec
import structlog
from nats.aio.client import Client

from producers._backfill import ATTEMPTS_MAX, SHARE, TEMPORARY
from producers._connection import Surroundings, backoff_s
from producers._exchange import UNREADABLE, History, Page, Reach, Recent, Request, Row, Setup
from producers._feeds import Feed
from producers._kept import Kept
from producers._outbox import Outbox
from producers._pages import ranges, read
from producers._rest import RestClient, RestError
from producers._slices import LENGTH_US
from producers._slices import read as read_slice
from schemas import names, time
from schemas.events import Gap

CHANNEL, CAUSE = "trades", "backfill"
PIECE_IDS = 998
"""Little enough for one page of a thousand that begins with a trade that is known."""
LOOK_S, ABSENT_S, SAVE_S = 0.2, 5.0, 2.0
log = structlog.get_logger()


class Way(msgspec.Struct):
    """How far back a symbol was read: all since ``before``; ``until`` is the goal. µs.

    ``below`` is the dense id of the earliest, where there is one.
    """

    below: int
    before: int
    until: int
    done: bool = False


_decode, _encode = msgspec.json.Decoder(Way).decode, msgspec.json.Encoder().encode


class FirstTrades:
    """Works until told to stop. ``feeds`` gives those that are listened to for the first time; ``opened`` gets gaps."""

    def __init__(
        self, history: History | None, recent: Recent | None, setup: Setup, nats: Client, rest: RestClient,
        outbox: Outbox, around: Surroundings, *, back_us: int, feeds: Callable[[], Iterable[Feed]],
        opened: Callable[[Gap], None],
    ) -> None:  # fmt: skip
        self._history, self._recent, self._setup = history, recent, setup
        self._rest, self._outbox, self._around = rest, outbox, around
        self._kept = Kept(nats, names.first_prefix(setup.exchange))
        self._back_us, self._feeds, self._opened = back_us, feeds, opened
        self._by_id = history is not None and not history.by_time
        self._ways: dict[str, Way] = {}
        self._attempts: dict[str, int] = {}
        self._failures = 0
        self._loaded = False
        self._unsaved: set[str] = set()
        self._noted: dict[str, bytes] = {}
        """By symbol: what is stored the next time."""
        self._save_due = 0.0
        self.counts = dict.fromkeys(("trades", "pages", "errors"), 0)

    async def run(self) -> None:
        """Read backwards, the symbol that has come the least far first, until told to stop."""
        while not self._around.stop.is_set():
            if not self._loaded and not await self._load():
                await self._around.pause(ABSENT_S)
                continue
            await self._begin()
            symbol = self._next()
            if symbol is None:
                await self._around.pause(1.0)
                continue
            try:
                await self._step(symbol, self._ways[symbol])
                self._attempts[symbol] = self._failures = 0
            except (RestError, *UNREADABLE) as error:
                await self._failed(symbol, error)

    async def _load(self) -> bool:
        found = await self._kept.load()
        for key, value in (found or {}).items():
            try:
                self._ways[key.rpartition(".")[2]] = _decode(value)
            except msgspec.MsgspecError as error:
                log.error("cursor_unreadable", key=key, error=str(error))
        self._loaded = found is not None
        return self._loaded

    async def _begin(self) -> None:
        """Note symbols that are listened to for the first time, at once: the next start will not be their first."""
        for feed in self._feeds():
            if feed.symbol not in self._ways and (feed.first is not None or (feed.frames and not self._by_id)):
                number, timestamp = feed.first or (0, self._around.clock())
                self._ways[feed.symbol] = Way(number, timestamp, timestamp - self._back_us)
                self._unsaved.add(feed.symbol)
        if (self._unsaved or self._noted) and self._around.monotonic() >= self._save_due:
            await self._save()

    def _next(self) -> str | None:
        natives = self._natives()
        open_ones = (
            symbol for symbol, way in self._ways.items()
            if not way.done and symbol in natives and self._attempts.get(symbol, 0) < ATTEMPTS_MAX
        )  # fmt: skip
        return max(open_ones, key=lambda symbol: self._ways[symbol].before, default=None)

    def _natives(self) -> dict[str, str]:
        return {feed.symbol: feed.native for feed in self._setup.feeds.channel(CHANNEL).values()}

    # --- a step back -------------------------------------------------------------------------------------------
    async def _step(self, symbol: str, way: Way) -> None:
        native = self._natives()[symbol]
        if self._by_id:
            piece = await self._piece(symbol, native, way)
            way.done = not piece
        else:
            piece = await self._slice(native, way)
        for row in piece:
            for event in row.events:
                self._outbox.add_bulk(event)
                self.counts["trades"] += 1
        stored = self._outbox.fence()
        while not stored():
            if self._around.stop.is_set():
                return
            await self._around.sleep(LOOK_S)
        if piece:
            way.below, way.before = piece[0].number, min(way.before, *(row.timestamp for row in piece))
        way.done |= way.before <= way.until or way.below == 1
        self._unsaved.add(symbol)
        if way.done:
            log.info("trades_backfilled", exchange=self._setup.exchange, symbol=symbol, since=time.iso(way.before))

    async def _piece(self, symbol: str, native: str, way: Way) -> list[Row]:
        """The rows just below, oldest first; what the exchange leaves open between them becomes a gap."""
        assert self._history is not None
        reach = Reach(max(way.below - PIECE_IDS, 1), way.below - 1, way.until, way.before)
        reading = await read(lambda part: self._page(native, part), reach, newest_first=self._history.newest_first)
        rows = sorted(reading.rows.values())
        for first, last in ranges(number for number in reading.unknown if rows and number > rows[0].number):
            before = max(row.timestamp for row in rows if row.number < first)
            after = min((row.timestamp for row in rows if row.number > last), default=way.before)
            self._open(symbol, first, last, before, after)
        return rows

    async def _slice(self, native: str, way: Way) -> list[Row]:
        """The trades of the minutes before, oldest first, where the exchange is asked for times."""
        recent = self._recent
        assert recent is not None
        begin = max(way.before - LENGTH_US, way.until)
        # What shares the last time may have been left out: a copy is no matter, a hole is.
        found = await read_slice(recent, native, begin, way.before + time.MILLISECOND, partial(self._ask, recent))
        way.before, way.done = begin, found.begin > begin
        return found.rows

    async def _ask(self, recent: Recent, request: Request) -> Page:
        body = await self._rest.get(request, share=SHARE)
        self.counts["pages"] += 1
        return recent.parse(body, request, self._around.clock(), self._setup)

    async def _page(self, native: str, reach: Reach) -> list[Row]:
        assert self._history is not None
        request = self._history.request(native, reach)
        body = await self._rest.get(request, share=SHARE)
        self.counts["pages"] += 1
        return list(self._history.parse(body, request, self._around.clock(), self._setup))

    def _open(self, symbol: str, first: int, last: int, before: int, after: int) -> None:
        now = self._around.clock()
        self._opened(Gap(
            self._setup.exchange, symbol, before, now, CHANNEL, str(first), str(last), before, after, CAUSE, "open",
            last - first + 1, 0, "", now,
        ))  # fmt: skip

    async def _failed(self, symbol: str, error: Exception) -> None:
        self.counts["errors"] += 1
        log.warning("backfill_failed", exchange=self._setup.exchange, symbol=symbol, series=CHANNEL,
                    error=f"{type(error).__name__}: {error}"[:300])  # fmt: skip
        if not isinstance(error, RestError) or (error.status not in TEMPORARY and error.status < 500):
            self._attempts[symbol] = self._attempts.get(symbol, 0) + 1
        self._failures += 1
        await self._around.pause(backoff_s(self._failures, self._around.rng))

    # --- what outlives us --------------------------------------------------------------------------------------
    async def _save(self) -> None:
        """Store what was noted before the last time: the log acknowledges a second before it is on disk."""
        prefix = names.first_prefix(self._setup.exchange)
        values = {f"{prefix}.{symbol}": content for symbol, content in self._noted.items()}
        if not values or await self._kept.store(values):
            self._noted = {symbol: _encode(self._ways[symbol]) for symbol in self._unsaved}
            self._unsaved = set()
        self._save_due = self._around.monotonic() + SAVE_S

    async def close(self) -> None:
        """Store how far it has come, once everything was sent or is on disk."""
        await self._save()
        await self._save()

    def health(self) -> dict[str, int]:
        """Counters, and the symbols that are not there yet."""
        return self.counts | {"left": sum(not way.done for way in self._ways.values())}

    def summary(self) -> str:
        """How far it has come, in a few words; empty once all is there."""
        left = [max(way.before - way.until, 0) for way in self._ways.values() if not way.done]
        return f"{sum(left) / time.HOUR:.1f} h of trades left" if left else ""
