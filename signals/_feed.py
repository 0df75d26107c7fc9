"""One signal over the slower streams at work: reads each from where it must, flushes what changed, posts letters."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.names import STREAM_SIGNALS, signal_durable, watermark_key
from schemas.settings import Settings
from signals._decode import Message
from signals._jetstream import StreamAnswer, StreamFacts, facts, request
from signals._once import RedisAway
from signals._publish import Letter, Publisher
from signals._redis import Watermark, Writer
from signals._series import Series, Source, is_named_well
from signals._stream import Reader, StreamReplaced
from signals._tables import Tables, TablesAway

_log = structlog.get_logger()
BATCH = 5_000
HISTORY_EVERY_S, POLL_EVERY_S, REDIS_AWAY_S, CAUGHT_UP_S_MAX = 10.0, 1.0, 1.0, 60.0
_SETTLE_S = 5.0


class Feed:
    """``make`` builds the signal, again when a stream was replaced under it."""

    def __init__(
        self, make: Callable[[], Series], settings: Settings, nats: Client, redis: Redis, health: dict[str, Any],
        wall: Callable[[], int], monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._make, self._nats, self._redis, self._health = make, nats, redis, health
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep
        self.signal = make()
        self._flush_s = settings.signals.flush / 1e6
        self._writer = Writer(redis, watermark_key(signal_durable(self.signal.name)), settings.signals.closed)
        self._tables = Tables(settings.questdb.pg)
        self._publisher = Publisher(nats, monotonic)
        self._told: dict[str, int] = {}
        self.bad = 0
        """Lines that are no valid event of their subject."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``."""
        while not stop.is_set():
            found = [await self._facts(source, stop) for source in self.signal.sources()]
            readers: list[Reader] = []
            try:
                for source, its in zip(self.signal.sources(), found, strict=True):
                    if its is not None:
                        since = max(self._wall() - source.lookback, 1)
                        readers.append(
                            Reader(
                                self._nats, source.stream, its.created, 0, subjects=source.subjects, since=since
                            )
                        )  # fmt: skip
                if not stop.is_set():
                    self._created = found[0].created if found[0] else ""
                    await self._work(readers, stop)
            except StreamReplaced as replaced:
                _log.error("stream_replaced", stream=replaced.stream, created=replaced.created)
                self.signal = self._make()
            finally:
                for reader in readers:
                    await reader.close()

    async def _facts(self, source: Source, stop: asyncio.Event) -> StreamFacts | None:
        """What a stream is; waits for it. None when told to stop first."""
        delay = 0.2
        while not stop.is_set():
            try:
                return await facts(self._nats, source.stream)
            except (NatsError, StreamAnswer, OSError, TimeoutError) as error:
                _log.warning("stream_away", stream=source.stream, reason=str(error) or type(error).__name__)
            await self._sleep(delay)
            delay = min(delay * 2, 5.0)
        return None

    async def _work(self, readers: list[Reader], stop: asyncio.Event) -> None:
        began = self._monotonic()
        self._others: dict[str, int] = {}
        self._written: Watermark | None = None
        self._caught_up = False
        self._due = dict.fromkeys(("flush", "history", "poll"), began)
        while not stop.is_set():
            if self._monotonic() >= self._due["history"]:
                await self._history()
            batches = await asyncio.gather(*(reader.take(self._flush_s, BATCH) for reader in readers))
            for source, batch in zip(self.signal.sources(), batches, strict=True):
                self.apply(source, batch)
            await self._post(stop)
            # Nothing old is shown: the first flush waits until what the streams hold was read.
            behind = any(reader.pending for reader in readers)
            self._caught_up |= not behind or self._monotonic() - began > CAUGHT_UP_S_MAX
            if self._caught_up:
                await self._housekeeping(readers)
        if self._caught_up:
            await self._flush(readers)
        await self._publisher.settle(_SETTLE_S)
        self._report(readers)

    async def _history(self) -> None:
        """Once, from the tables; again later while they are away. Sets of events do not mind when."""
        try:
            await self.signal.history(self._tables, self._wall())
        except TablesAway as error:
            _log.warning("history_waits", signal=self.signal.name, reason=str(error))
            self._due["history"] = self._monotonic() + HISTORY_EVERY_S
        else:
            self._due["history"] = float("inf")
            self._tables.close()

    def apply(self, source: Source, batch: list[Message]) -> None:
        """Take in the events of messages, in order; what is none is counted."""
        found = []
        for message in batch:
            for line in message.payload.split(b"\n"):
                try:
                    event = source.decode(line)
                except msgspec.DecodeError:
                    self.bad += bool(line.strip())
                    continue
                if is_named_well(event):
                    found.append((event, message.sequence))
                else:
                    self.bad += 1
        if found:
            self.signal.take_many(source.word, found)

    async def _post(self, stop: asyncio.Event) -> None:
        """Publish what was found; after a start without what the log was told before."""
        letters, self.signal.letters = self.signal.letters, []
        if letters and not self._caught_up:
            letters = [letter for letter in letters if not await self._is_told(letter)]
        if letters:
            await self._publisher.send(letters, stop)

    async def _is_told(self, letter: Letter) -> bool:
        if letter.subject not in self._told:
            try:
                answer = await request(self._nats, f"STREAM.MSG.GET.{STREAM_SIGNALS}", {"last_by_subj": letter.subject})
                last = json.loads(base64.b64decode(answer["message"]["data"]))
                self._told[letter.subject] = last["timestamp"]
            except (NatsError, StreamAnswer, OSError, TimeoutError, ValueError, KeyError):
                self._told[letter.subject] = 0
        return bool(json.loads(letter.payload)["timestamp"] <= self._told[letter.subject])

    async def _housekeeping(self, readers: list[Reader]) -> None:
        now = self._monotonic()
        if now >= self._due["poll"]:
            self._due["poll"] = now + POLL_EVERY_S
            try:
                await self.signal.poll(self._redis)
            except (RedisError, OSError, TimeoutError) as error:
                _log.info("poll_failed", signal=self.signal.name, reason=str(error) or type(error).__name__)
            self._report(readers)
        if now >= self._due["flush"]:
            self._due["flush"] = now + (self._flush_s if await self._flush(readers) else REDIS_AWAY_S)

    async def _flush(self, readers: list[Reader]) -> bool:
        """Write what changed, everything where Redis lost it. False while Redis is away (what changed stays marked)."""
        held = await self._writer.watermark()
        if held is None:
            return False
        if held != self._written:
            self.signal.everything()
        first, *more = readers
        watermark = Watermark(first.sequence, self._created)
        dirty, self.signal.dirty = self.signal.dirty, set()
        rendered = [self.signal.render(who) for who in sorted(dirty)]
        values = [value for some, _ in rendered for value in some]
        members = [member for _, some in rendered for member in some]
        streams = [source.stream for source in self.signal.sources()[1:]]
        others = {f"sequence:{name}": reader.sequence for name, reader in zip(streams, more, strict=True)}
        if not values and not members and held == watermark and others == self._others:
            return True
        if not await self._writer.write(values, members, watermark, [], others):
            self.signal.dirty |= dirty
            self._written = None
            return False
        self._written, self._others = watermark, others
        return True

    async def once(self) -> int:
        """The keys of what the tables hold, and of what Redis holds of others; the log is not read. Returns how many.

        No watermark is written. Raises TablesAway, and RedisAway where Redis did not take them.
        """
        await self.signal.history(self._tables, self._wall())
        try:
            await self.signal.poll(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(f"Redis: {error or type(error).__name__}") from error
        self.signal.dirty.update(self.signal.known())
        rendered = [self.signal.render(who) for who in sorted(self.signal.dirty)]
        values = [value for some, _ in rendered for value in some]
        members = [member for _, some in rendered for member in some]
        if not await self._writer.write(values, members, None, []):
            raise RedisAway(f"Redis: {self._writer.error}")
        return len(values) + len(members)

    def _report(self, readers: list[Reader]) -> None:
        self._health[self.signal.name] = {
            "lag": sum(max(reader.pending, 0) for reader in readers), "bad": self.bad,
            "published": self._publisher.published, "redis_error": self._writer.error, **self.signal.counters(),
        }  # fmt: skip

    async def close(self) -> None:
        """Let go of connections."""
        self._tables.close()
        await self._publisher.close()
        await self._writer.close()
