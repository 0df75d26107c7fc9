"""Closed candles of a range computed anew, by an engine of its own, and put into Redis where they are not there.

It reads the log from the range's day on, so that whatever runs on since 00:00 UTC is exact, and what the log no longer
holds from the tables, as an engine does that starts. Keys of the present are the live processes' own: they are made to
write all of them again.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from redis.asyncio import Redis
from redis.exceptions import WatchError

from schemas import time
from schemas.instruments import Instrument
from schemas.names import WORD, watermark_key
from schemas.settings import Settings
from signals._archive import Archive
from signals._catch_up import CatchUp
from signals._core import Core
from signals._decode import Message
from signals._gap_feed import GapFeed
from signals._grid import Grids
from signals._jetstream import StreamFacts, facts, request
from signals._layout import DAY
from signals._redis import Member, Watermark
from signals._registry import Registry
from signals._start import Covered, Starter
from signals._state import Spans
from signals._stream import Reader
from signals._tables import Tables
from signals.footprint import Footprints

STREAM = WORD["trade"].stream
FOLDER = "rebuilds"
LEAD = 10 * time.MINUTE
"""The log is read from so long before the range's day: what came late by then belongs to the day before."""
PRESENT = 5 * time.SECOND
"""A range that ends so shortly before now reaches the present."""
BATCH, FRESH_MAX = 5_000, 5_000
TAKE_S, SILENCE_MAX = 0.5, 60
GAPS_WAIT_S, MARKS_WAIT_S, OWNERS_WAIT_S = 5.0, 20.0, 15.0
TRIES_MAX = 8


class LogSilent(ConnectionError):
    """The stream stopped answering while it was read."""


class RegistryAway(ConnectionError):
    """The instruments could not be read, without which rows are not known."""


class Rebuilt(msgspec.Struct):
    """What became of a range."""

    messages: int = 0
    candles: int = 0
    """Closed candles of the range, of those Redis keeps."""
    missing: int = 0
    differed: int = 0
    """Of these: not there, or other than the log has them; they are written."""
    newer: int = 0
    """Left alone: Redis had a later revision already."""
    short_from: int = 0
    """Candles shorter than a minute are known from here on (µs); 0: all of the range."""
    minutes_left: int = 0
    """Minutes with trades so late that the table does not have them yet."""
    whole: bool = False
    asked: list[str] = []
    """Watermarks taken away, so that whoever keeps them writes all keys again."""
    silent: list[str] = []
    """Of these: those nobody wrote again."""


class _Version(msgspec.Struct):
    revision: int
    sequence: int


class _Stamp(msgspec.Struct):
    received: int = 0


_version = msgspec.json.Decoder(_Version).decode


def _forget(_pin: Instrument) -> None:
    """Pin nothing."""


class Rebuild:
    """One range, ``begin`` to before ``end`` (µs). ``told`` gets messages read and those there are."""

    def __init__(
        self, settings: Settings, spans: Spans, nats: Client, redis: Redis, begin: int, end: int, *,
        told: Callable[[int, int], None], wall: Callable[[], int], monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._config, self._spans, self._nats, self._redis = settings.signals, spans, nats, redis
        self._begin, self._end, self._told = begin, end, told
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep
        self._day = begin - begin % DAY
        self._folder = Path(settings.data_dir) / FOLDER / str(wall())
        self._archive = Archive(self._folder / "engine.sqlite", self._config.closed)
        self._grids, self._tables = Grids(self._config.row, _forget), Tables(settings.questdb.pg)
        self.done = Rebuilt()

    async def run(self, stop: asyncio.Event) -> Rebuilt:
        """Until it is done, or ``stop``: then nothing was written.

        Raises LogSilent, RegistryAway, StreamReplaced, StreamAnswer, nats and redis errors, and OSError.
        """
        reader: Reader | None = None
        feed: GapFeed | None = None
        try:
            if self._end >= self._wall() - PRESENT:
                await self._ask_owners()
            if not await Registry(self._nats).read(self._grids):
                raise RegistryAway("the bucket of instruments does not answer")
            found = await facts(self._nats, STREAM)
            core, covered, reader = await self._start(found)
            feed = GapFeed(self._nats, core, self._monotonic)
            await feed.catch_up(GAPS_WAIT_S)
            await self._replay(core, covered, reader, feed, found, stop)
            if not stop.is_set():
                await self._settle(core, feed, stop)
                await self._write(core)
                await self._await_owners(stop)
                self.done.whole = not stop.is_set()
        finally:
            for each in (reader, feed):
                if each is not None:
                    await each.close()
            self._tables.close()
            self._archive.close()
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        return self.done

    # --- the present -------------------------------------------------------------------------------------------
    async def _ask_owners(self) -> None:
        """An engine that finds its watermark gone takes Redis for emptied, and writes everything."""
        keys = [key async for key in self._redis.scan_iter(watermark_key("*"), count=1000)]
        if keys:
            await self._redis.delete(*keys)
        self.done.asked = sorted(key.decode() for key in keys)

    async def _await_owners(self, stop: asyncio.Event) -> None:
        until = self._monotonic() + OWNERS_WAIT_S
        while True:  # ends with the last of them, the time, or stop
            self.done.silent = [key for key in self.done.asked if not await self._redis.exists(key)]
            if not self.done.silent or stop.is_set() or self._monotonic() > until:
                return
            await self._sleep(0.2)

    # --- the engine --------------------------------------------------------------------------------------------
    async def _start(self, found: StreamFacts) -> tuple[Core, Covered, Reader]:
        """An engine at the beginning of the range's day, or at that of the log with what the tables have before it."""
        config = self._config
        if found.first <= 1 or await self._received(found) <= self._day - LEAD:
            core = Core(config, self._spans, self._grids, self._archive)
            reader = Reader(self._nats, STREAM, found.created, 0, since=max(self._day - LEAD, 0))
            return core, Covered(core, {}, config.late_horizon), reader
        starter = Starter(
            lambda: Core(config, self._spans, self._grids, self._archive), self._archive, self._tables, self._nats,
            STREAM, self._wall, self._monotonic, self._sleep, self._day,
        )  # fmt: skip
        core, watermark, until, _ = await starter.begin(found)
        begins = max(until.values(), default=self._end)
        if self._spans.lengths[0] < time.MINUTE and begins > self._begin:
            self.done.short_from = min(begins, self._end)
        reader = Reader(self._nats, STREAM, found.created, watermark.sequence)
        return core, Covered(core, until, config.late_horizon), reader

    async def _received(self, found: StreamFacts) -> int:
        """When the first message of the stream came in, µs; of an empty one ``end``."""
        if found.last < found.first:
            return self._end
        answer = await request(self._nats, f"STREAM.MSG.GET.{STREAM}", {"seq": found.first})
        line = base64.b64decode(answer["message"].get("data", "")).partition(b"\n")[0]
        try:
            return msgspec.json.decode(line, type=_Stamp).received
        except msgspec.DecodeError:
            return self._end

    async def _replay(
        self, core: Core, covered: Covered, reader: Reader, feed: GapFeed, found: StreamFacts, stop: asyncio.Event
    ) -> None:
        """Fold the log up to where it ended when this began."""
        silent, first = 0, 0
        while reader.sequence < found.last and not stop.is_set():
            messages = await reader.take(TAKE_S, BATCH)
            if not messages:
                if reader.pending == 0:  # nothing came since the range's day
                    return
                silent += 1
                if silent > SILENCE_MAX:
                    raise LogSilent(f"stream {STREAM} does not answer any more, at sequence {reader.sequence}")
                continue
            silent, first = 0, first or messages[0].sequence
            self._fold(core, covered, messages)
            await feed.step()
            if core.ledger.fresh_count() > FRESH_MAX:
                core.store(Watermark(reader.sequence, found.created))
            self._told(reader.sequence - first + 1, found.last - first + 1)

    def _fold(self, core: Core, covered: Covered, messages: list[Message]) -> None:
        core.fold(covered.rest(core.decode(messages)))
        core.ledger.outgoing.clear()
        core.ledger.changed.clear()
        core.watch.outgoing.clear()
        self.done.messages += len(messages)

    async def _settle(self, core: Core, feed: GapFeed, stop: asyncio.Event) -> None:
        """Minutes with trades beyond the horizon, from the table; and gaps that came meanwhile."""
        catch_up, marks = CatchUp(core, self._tables, self._nats), core.engine.late.marks
        for place in [place for place in marks if not self._begin - DAY <= place[1] < self._end]:
            del marks[place]  # of no candle that is written
        until = self._monotonic() + MARKS_WAIT_S
        while marks and self._monotonic() < until and not stop.is_set():
            before = len(marks)
            await catch_up.step()
            if len(marks) == before:
                await self._sleep(0.5)
        self.done.minutes_left = len(marks)
        await feed.catch_up(GAPS_WAIT_S)

    # --- Redis -------------------------------------------------------------------------------------------------
    async def _write(self, core: Core) -> None:
        footprints = Footprints(core.state, core.options)
        for series in sorted(core.ledger.newest):
            if not self._spans.shown[series[1]]:
                continue
            mine = {
                at: footprints.member(*series, candle)
                for at, candle in core.ledger.shown(series).items()
                if self._begin <= at < self._end
            }
            self.done.candles += len(mine)
            if mine:
                await self._put(footprints.closed_key_of(*series), mine)

    async def _put(self, key: bytes, mine: dict[int, Member]) -> None:
        """Write what is missing or other. Whoever writes the key meanwhile goes first: then it is looked at again."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(TRIES_MAX):
                await pipe.watch(key)
                found: Any = await pipe.zrangebyscore(key, min(mine), max(mine), withscores=True)
                held = {int(score): text for text, score in found}
                wanted, newer = self._wanted(mine, held)
                pipe.multi()  # type: ignore[no-untyped-call]  # redis-py's own
                self._add(pipe, key, wanted)
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                self.done.missing += sum(at not in held for at in wanted)
                self.done.differed += sum(at in held for at in wanted)
                self.done.newer += newer
                return
        self.done.newer += len(mine)  # written all the time, by its own engine

    def _wanted(self, mine: dict[int, Member], held: dict[int, bytes]) -> tuple[dict[int, Member], int]:
        """What to write, and how many of those held are newer than ours."""
        wanted = {at: member for at, member in mine.items() if held.get(at) != member.text}
        newer = [at for at, member in wanted.items() if at in held and _rank(held[at]) > _rank(member.text)]
        return {at: member for at, member in wanted.items() if at not in newer}, len(newer)

    def _add(self, pipe: Any, key: bytes, wanted: dict[int, Member]) -> None:
        for at, member in wanted.items():
            pipe.zremrangebyscore(key, at, at)
            pipe.zadd(key, {member.text: at})
        if wanted:
            pipe.zremrangebyrank(key, 0, -(self._config.closed + 1))
            pipe.publish(key, max(member.sequence for member in wanted.values()))


def _rank(text: bytes) -> tuple[int, int]:
    """What makes a text the later one of a candle; what does not decode is older than anything."""
    try:
        found = _version(text)
    except msgspec.DecodeError:
        return -1, -1
    return found.revision, found.sequence
