"""The alert worker: signals and trades through the rules, alerts back to the log, from there to webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis.asyncio import Redis

from schemas import alerts as messages
from schemas import time
from schemas.events import Trade
from schemas.names import STREAM_SIGNALS, WORD, alert_subject, signal_durable, watermark_key
from schemas.settings import ConfigError, Settings
from signals import _webhooks
from signals._decode import Message
from signals._jetstream import StreamAnswer, facts
from signals._publish import Letter, Publisher
from signals._redis import Watermark, Writer
from signals._stream import Reader, StreamReplaced
from signals.alerts import Rules, decode_seen

NAME = "alerts"
BATCH = 5_000
LATE = 5 * time.MINUTE
"""After a start, what came to the log earlier than this is not alerted any more."""
_WAIT_S, _MARK_S = 0.1, 1.0
_ALERT = "sig.alert."
_log = structlog.get_logger()
_trade = msgspec.json.Decoder(Trade).decode


class AlertWorker:
    """Reads on after its mark; publishes each alert once, posts it at least once."""

    def __init__(
        self, settings: Settings, nats: Client, redis: Redis, health: dict[str, Any], wall: Callable[[], int],
        monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        if not settings.alerts:
            raise ConfigError("settings", "alerts", "empty: there is nothing to watch for")
        self._settings, self._nats, self._health = settings, nats, health
        self._wall, self._monotonic, self._sleep = wall, monotonic, sleep
        self._rules = Rules(settings.alerts)
        self._targets_of = {rule.name: rule.targets for rule in settings.alerts}
        self._publisher = Publisher(nats, monotonic)
        self._writer = Writer(redis, watermark_key(signal_durable(NAME)), 1)
        self._streams = [STREAM_SIGNALS, *([WORD["trade"].stream] if self._rules.wants_prices else [])]
        self.bad = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``."""
        async with _webhooks.session() as session:
            self._targets = {
                name: _webhooks.Target(name, its, session, self._wall, self._sleep)
                for name, its in self._settings.targets.items()
            }
            posting = [asyncio.create_task(target.run()) for target in self._targets.values()]
            try:
                while not stop.is_set():
                    await self._follow(stop)
            finally:
                for task in posting:
                    task.cancel()
                await asyncio.gather(*posting, return_exceptions=True)
                await self._publisher.close()
                await self._writer.close()

    async def _follow(self, stop: asyncio.Event) -> None:
        readers: list[Reader] = []
        try:
            readers = await self._readers()
            self._health.update(state="running")
            self._marked_at = self._monotonic()
            while not stop.is_set():
                first, *more = await asyncio.gather(*(reader.take(_WAIT_S, BATCH) for reader in readers))
                await self._signals(first, stop)
                for batch in more:
                    await self._post(self._rules.on_trades(self._trades(batch)), stop)
                await self._mark(readers)
            await self._mark(readers, last=True)
        except StreamReplaced as replaced:
            _log.error("stream_replaced", stream=replaced.stream, created=replaced.created)
        except (NatsError, StreamAnswer, OSError, TimeoutError) as error:
            _log.warning("stream_away", reason=str(error) or type(error).__name__)
            await self._sleep(1.0)
        finally:
            for reader in readers:
                await reader.close()

    async def _readers(self) -> list[Reader]:
        """After the mark where it is of these streams and young enough, else from a few minutes ago on."""
        marks = await self._writer.marks(["sequence", "created", f"sequence:{self._streams[-1]}"])
        self._created, self._skip = "", dict.fromkeys(self._streams, 0)
        readers = []
        for n, stream in enumerate(self._streams):
            found = await facts(self._nats, stream)
            if n == 0:
                self._created = found.created
            if marks and marks[1] == self._created.encode():
                self._skip[stream] = int(marks[2 if n else 0] or 0)
                since = self._wall() - LATE
            else:
                since = self._wall()
            subjects = ["md.trade.>"] if n else ["sig.>"]
            readers.append(Reader(self._nats, stream, found.created, 0, subjects=subjects, since=since))
        return readers

    async def _signals(self, batch: list[Message], stop: asyncio.Event) -> None:
        """Messages of ``sig.>``: alerts go to their targets, everything else through the rules."""
        found: list[messages.Alert] = []
        for message in batch:
            if message.sequence <= self._skip[STREAM_SIGNALS]:
                continue
            if message.subject.startswith(_ALERT):
                self._queue(message)
                continue
            signal = message.subject.split(".", 2)[1]
            for line in message.payload.split(b"\n"):
                try:
                    found += self._rules.on_signal(signal, decode_seen(line))
                except msgspec.DecodeError:
                    self.bad += bool(line.strip())
        await self._post(found, stop)

    def _queue(self, message: Message) -> None:
        try:
            alert = messages.decode(message.payload)
        except msgspec.DecodeError:
            self.bad += 1
            return
        for name in self._targets_of.get(alert.rule, ()):
            self._targets[name].put(message.sequence, alert)

    def _trades(self, batch: list[Message]) -> list[Trade]:
        found = []
        for message in batch:
            if message.sequence <= self._skip[self._streams[-1]]:
                continue
            for line in message.payload.split(b"\n"):
                try:
                    found.append(_trade(line))
                except msgspec.DecodeError:
                    self.bad += bool(line.strip())
        return found

    async def _post(self, alerts: list[messages.Alert], stop: asyncio.Event) -> None:
        letters = [
            Letter(alert_subject(one.rule, one.exchange, one.symbol), messages.encode(one), one.id) for one in alerts
        ]
        if letters:
            await self._publisher.send(letters, stop)

    async def _mark(self, readers: list[Reader], *, last: bool = False) -> None:
        """Remember how far everything is published, and posted."""
        now = self._monotonic()
        if not last and now - self._marked_at < _MARK_S:
            return
        self._marked_at = now
        await self._publisher.resend()
        if await self._publisher.settle(5.0 if last else 0.0):
            waiting = [target.oldest for target in self._targets.values() if target.oldest is not None]
            reached = min([readers[0].sequence, *(sequence - 1 for sequence in waiting)])
            reached = max(reached, self._skip[STREAM_SIGNALS])
            others = {f"sequence:{self._streams[-1]}": readers[-1].sequence} if len(readers) > 1 else {}
            await self._writer.write([], [], Watermark(reached, self._created), [], others)
        self._report(readers)

    def _report(self, readers: list[Reader]) -> None:
        self._health.update(
            lag=sum(max(reader.pending, 0) for reader in readers), bad=self.bad, fired=self._rules.fired,
            published=self._publisher.published, redis_error=self._writer.error,
            targets={
                name: {"sent": one.sent, "refused": one.refused, "dropped": one.dropped, "error": one.error}
                for name, one in self._targets.items()
            },
        )  # fmt: skip
