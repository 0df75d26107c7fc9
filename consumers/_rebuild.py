"""A range of one table filled again from what the log still has, beside the consumer that goes on filling it.

The log is read from the range's beginning to its end, since a fill or a backfill may have brought old events late.
Upsert keys leave each row once. Where events are corrected, the log is read on until nothing new concerned the range:
what the live consumer wrote meanwhile was then written again, in order, and no older version is left on top.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Generic

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from consumers._batch import Batch, Sieve
from consumers._durable import ACK_WAIT_S
from consumers._patience import Patience, Stopped
from consumers._pull import Pull, stored, stream_sequence
from consumers._questdb import Questdb
from consumers._store import Store
from consumers._table import E, Table
from schemas import time
from schemas.settings import Settings

log = structlog.get_logger()
AHEAD_MAX = time.MINUTE
"""An event is in the log at most so long before its own time: clocks differ no more."""
WAIT_S, INACTIVE_S = 0.5, 600.0
ROUNDS_MAX = 50


class Rebuilt(msgspec.Struct):
    """What became of a table: messages ``read``, ``events`` of the range, ``rows`` written, what was left out."""

    table: str
    read: int = 0
    events: int = 0
    rows: int = 0
    expired: int = 0
    """Events older than the table keeps."""
    unfit: int = 0
    """Events or lines no row can be made of; they lie among the dead letters since they first came."""
    since: int = 0
    """The log begins here (µs), within the range; 0 where it reaches back to the range's beginning."""
    short: dict[str, int] = {}
    """By subject: where the log begins (µs) for those of which it keeps the last messages only."""
    whole: bool = False
    """Whether it was read to the end, and not stopped before."""


class _Window(Sieve[E]):
    """Only events of ``begin`` to before ``end``."""

    begin = end = 0

    def _fit(self, batch: Batch[E], message: Msg, place: tuple[str, str, str]) -> list[E]:
        begin, end = self.begin, self.end
        return [it for it in super()._fit(batch, message, place) if begin <= it.timestamp < end]  # type: ignore[attr-defined]  # every event has one


class Rebuild(Generic[E]):
    """One table's. ``told`` gets the messages read and those there are, after each batch."""

    def __init__(
        self, table: Table[E], settings: Settings, nats: Client, questdb: Questdb, begin: int, end: int, *,
        stop: asyncio.Event, told: Callable[[int, int], None], clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._table, self._nats, self._questdb, self._stop, self._told = table, nats, questdb, stop, told
        self._begin = begin
        self._js = nats.jetstream()
        self._rows = min(settings.consumer.rows, table.flush_rows_max)
        self._sieve: _Window[E] = _Window(table, getattr(settings.retention, table.name), clock)
        self._sieve.begin, self._sieve.end = begin, end
        self._store = Store(table, settings.questdb.http, questdb, self._sieve)
        self._name = f"rebuild-{table.name}-{secrets.token_hex(4)}"
        self._pull = Pull(nats, table.stream, self._name, 2 * self._rows, monotonic)
        self._patience = Patience(table.name, stop, {"held": ""})
        self._reached = 0
        self._oldest: dict[str, int] = {}
        """By subject: when the first message that was read was stored, µs. Kept where a stream limits subjects."""
        self.done = Rebuilt(table.name)

    async def run(self) -> Rebuilt:
        """Fill the range again, until the end or ``stop``; servers that are away are waited for."""
        try:
            await self._until_done(lambda: self._sieve.learn(self._questdb))
            await self._until_done(self._know_stream)
            await self._until_done(self._make_consumer)
            await self._pull.open()
            self.done.whole = await self._rounds()
        except Stopped:
            log.info("rebuild_stopped", table=self._table.name)
        finally:
            self._store.close()
            await self._pull.close()
            await self._forget_consumer()
        return self.done

    async def _know_stream(self) -> None:
        info = await self._stream()
        state, first = info["state"], 0
        if state["first_seq"] > 1 and state["messages"]:
            first = time.parse(state["first_ts"][:19])
        self._first, self._last = state["first_seq"], state["last_seq"]
        self._limit = max(info["config"].get("max_msgs_per_subject", -1), 0)
        self.done.since = first if first > self._begin and not self._limit else 0

    async def _stream(self, **body: Any) -> dict[str, Any]:
        """Raises nats errors."""
        asked = f"$JS.API.STREAM.INFO.{self._table.stream}"
        answer = await self._nats.request(asked, json.dumps(body).encode() if body else b"", timeout=5.0)
        found: dict[str, Any] = json.loads(answer.data)
        if "error" in found:
            raise NatsError(f"stream {self._table.stream}: {found['error'].get('description', 'refused')}")
        return found

    async def _make_consumer(self) -> None:
        """From the range's beginning, once more where a server lost it; it goes by itself when nobody asks any more."""
        begin = datetime.fromtimestamp(max(self._begin - AHEAD_MAX, 0) / time.SECOND, UTC)
        config = ConsumerConfig(
            name=self._name, filter_subject=self._table.subjects, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S,
            max_deliver=-1, max_ack_pending=max(1000, 3 * self._rows), inactive_threshold=INACTIVE_S,
            mem_storage=True, num_replicas=1, deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=begin,
        )  # fmt: skip
        await self._js.add_consumer(self._table.stream, config)

    async def _forget_consumer(self) -> None:
        try:
            await self._js.delete_consumer(self._table.stream, self._name)
        except NotFoundError:
            pass
        except (NatsError, APIError, TimeoutError) as error:  # the server forgets it by itself
            log.info("rebuild_consumer_left", consumer=self._name, reason=repr(error))

    async def _rounds(self) -> bool:
        """Read to the end; again to the new end as long as that brought corrections. False where told to stop."""
        for _ in range(ROUNDS_MAX):
            before = self.done.events
            if not await self._read():
                return False
            if self._table.version is None or self.done.events == before:
                break
            await self._until_done(self._renew_last)
        await self._until_done(self._learn_short)
        return True

    async def _renew_last(self) -> None:
        self._last = (await self._stream())["state"]["last_seq"]

    async def _read(self) -> bool:
        """Everything up to the last sequence known. False where told to stop."""
        while not self._stop.is_set():
            messages = await self._pull.take(self._rows, WAIT_S)
            if messages:
                await self._apply(messages)
            elif self._pull.gone:
                await self._until_done(self._make_consumer)
                await self._pull.renew()
            if (self._reached >= self._last or not messages) and await self._at_end():
                return True
        return False

    async def _at_end(self) -> bool:
        """Whether nothing up to the last sequence is still to be delivered, not even once more."""
        try:
            info = await self._js.consumer_info(self._table.stream, self._name)
        except (NatsError, APIError, TimeoutError):  # away, or gone: the pull says so next
            return False
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        return floor >= self._last or not (info.num_pending or info.num_ack_pending)

    async def _apply(self, messages: list[Msg]) -> None:
        """Write what is of the range, then ack."""
        batch = self._sieve.sift(messages)
        if batch.events:
            await self._until_done(lambda: self._store.write(batch), lambda: self._pull.working(messages))
        await self._pull.ack(messages)
        done = self.done
        done.read += len(messages)
        done.events += len(batch.events)
        done.rows += batch.rows
        done.expired += batch.expired
        done.unfit += len(batch.dead)
        self._reached = max(self._reached, stream_sequence(messages[-1]))
        if self._limit:
            for message in messages:
                self._oldest.setdefault(message.subject, stored(message))
        self._told(max(0, min(self._reached, self._last) - self._first + 1), self._last - self._first + 1)

    async def _learn_short(self) -> None:
        """Of which subjects the log keeps only the last messages, and those begin within the range."""
        late = {subject: at for subject, at in self._oldest.items() if at > self._begin}
        if not late:
            return
        counts = (await self._stream(subjects_filter=self._table.subjects))["state"].get("subjects") or {}
        self.done.short = {subject: at for subject, at in late.items() if counts.get(subject, 0) >= self._limit}

    async def _until_done(
        self, act: Callable[[], Awaitable[object]], meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        await self._patience.until_done(act, meanwhile or _nothing)


async def _nothing() -> None:
    return None
