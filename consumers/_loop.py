"""One table's loop: fetch, decode, write, then ack. A failed write acks nothing; the upsert keys absorb the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from consumers import _dead, _lost
from consumers._batch import Batch, Sieve
from consumers._durable import ACK_WAIT_S, Durable
from consumers._latency import Latencies
from consumers._patience import Patience, Stopped
from consumers._pull import Pull, pending, stored, stream_sequence
from consumers._questdb import Questdb, statement
from consumers._rewind import loss, unclean_start
from consumers._store import Store
from consumers._table import E, Table
from consumers._watermark import Finding, Watermark
from schemas.settings import Settings

log = structlog.get_logger()
CHECK_EVERY_S = 10.0
BEHIND_S = 10.0
"""Messages older than this are read late: retention may be running over what comes behind them."""
BEHIND_WAITS = 4
"""While the log holds more than was delivered, a batch may wait so many times longer: a commit costs QuestDB the same
whatever it holds, and every one of them refreshes the views."""


def _nothing() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


class Loop(Generic[E]):
    """Fills one table until ``stop``. ``health`` gets this table's counters, kept current per batch."""

    def __init__(
        self,
        table: Table[E],
        settings: Settings,
        nats: Client,
        questdb: Questdb,
        stop: asyncio.Event,
        health: dict[str, Any],
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.table, self._nats, self._questdb, self._stop, self._monotonic = table, nats, questdb, stop, monotonic
        self._js = nats.jetstream()
        self._rows = min(settings.consumer.rows, table.flush_rows_max)
        self._wait_s = settings.consumer.wait / 1e6
        self._sieve = Sieve(table, getattr(settings.retention, table.name), clock)
        self._store = Store(table, settings.questdb.http, questdb, self._sieve)
        self._durable = Durable(table.stream, table.durable, table.subjects, max(1000, 3 * self._rows))
        self._pull = Pull(nats, table.stream, table.durable, 2 * self._rows, monotonic)
        marks = Path(settings.data_dir) / "watermarks"
        self._watermark = Watermark(marks, table.durable, table.stream, monotonic)
        self._clock, self._rewind = clock, settings.consumer.rewind
        self._data_dir = Path(settings.data_dir)
        self._lost: list[Finding] = []
        """What was found missing and not reported yet: until then no mark may pass it on disk."""
        self._checked = self._progressed = monotonic()
        self._held: list[Msg] = []
        self._done: asyncio.Task[None] | asyncio.Future[None] = _nothing()
        self._reconnects = -1
        self._rewound = 0
        self._patience = Patience(table.name, stop, health)
        self.health = health
        self._latencies = Latencies(table.event, clock)
        health.update(
            rows=0, duplicates=0, conflicts=0, expired=0, dead=0, lag=0, holes=0, regressed=0, rewinds=0, held=""
        )
        health["latency"] = self._latencies.told

    async def run(self) -> None:
        """Runs until ``stop``; servers that are away are waited for."""
        try:
            await self._until_done(self._prepare)
            await self._pull.open()
            await self._until_done(self._inspect)
            while not self._stop.is_set():
                await self._step()
                await self._look_after()
            await self._done
        except Stopped:
            log.info("table_stopped_holding", table=self.table.name)
        finally:
            await asyncio.wait([self._done])
            if not self._lost:
                self._watermark.save(now=True)
            self._store.close()
            await self._pull.close()

    async def rewind(self, start: int | None = None) -> None:
        """The table lost rows: fill it again from sequence ``start`` (None: all there is). Raises nats errors."""
        await self._durable.restart(self._js, start)
        self._rewound += 1
        self._pull.drop()
        self._sieve.forget()
        await self._pull.renew()

    async def _prepare(self) -> None:
        """Learn what the table holds and put the durable back to its ack floor: unacked messages come at once."""
        await self._sieve.learn(self._questdb)
        await self._durable.ensure(self._js)
        if not self._sieve.latest:
            await self._durable.restart(self._js)  # an empty table: whatever was acked, it is not there
        else:
            await self._js.reset_consumer(self.table.stream, self.table.durable)

    async def _step(self) -> None:
        """Sift one batch while the one before it is being written; writes follow each other in order."""
        wait_s = self._wait_s * (BEHIND_WAITS if self.health["lag"] else 1)
        messages = await self._pull.take(self._rows, wait_s)
        if not messages:
            if self._done.done():
                self._done.result()
            return
        self._held += messages
        batch = self._sieve.sift(messages)
        await self._done
        if self._jumped(messages[0]):
            await self._until_done(self._inspect)
        self._done = asyncio.create_task(self._finish(batch))

    def _jumped(self, message: Msg) -> bool:
        """Whether messages that were removed unread may lie before one that is read late."""
        ahead = stream_sequence(message) > self._watermark.mark.sequence + 1
        return ahead and self._clock() - stored(message) > BEHIND_S * 1e6

    async def _finish(self, batch: Batch[E]) -> None:
        rewound = self._rewound
        began = self._monotonic()
        await self._until_done(lambda: self._write(batch))
        self._latencies.flushed(self._monotonic() - began)
        self._latencies.sample(batch)
        await self._until_done(lambda: _dead.send(self._js, batch.dead, self._nats.max_payload))
        await self._pull.ack(batch.messages)
        del self._held[: len(batch.messages)]
        if rewound == self._rewound:  # else these are delivered again, behind others that are missing
            self._watermark.advance(stream_sequence(batch.messages[-1]))
        self._count(batch)

    async def _write(self, batch: Batch[E]) -> None:
        if not batch.events:
            return
        if self.health["held"]:  # QuestDB was away: it may have come back without its last rows
            await self._look_for_loss()
        await self._store.write(batch)

    async def _until_done(self, act: Callable[[], Awaitable[object]]) -> None:
        await self._patience.until_done(act, self._say_working)

    async def _say_working(self) -> None:
        if self._monotonic() - self._progressed > ACK_WAIT_S / 3:
            self._progressed = self._monotonic()
            await self._pull.working(self._held)

    async def _look_after(self) -> None:
        """Now and then, and after a reconnect: is the stream what it was, is the durable there?"""
        if not self._lost:
            self._watermark.save()
        reconnected = self._nats.stats["reconnects"] != self._reconnects
        if self._pull.gone:
            await self._until_done(self._return)
        elif reconnected or self._monotonic() - self._checked > CHECK_EVERY_S:
            await self._until_done(self._inspect)

    async def _return(self) -> None:
        await self._durable.ensure(self._js)
        await self._inspect()
        await self._pull.renew()

    async def _look_for_loss(self) -> None:
        """Whether QuestDB still has what it took: if not, have it delivered again."""
        found = await self._questdb.fetch(statement("transactions"), self.table.name)
        transactions, unclean = found[0][0] if found else 0, unclean_start(self._data_dir)
        mark = self._watermark.mark
        lost = (
            loss(mark.steps, transactions, unclean > mark.rewound, self._rewind)
            if self._rewind and mark.created
            else None
        )
        if lost is not None:
            log.warning("table_rewinds", table=self.table.name, reason=lost.reason, start=lost.start)
            self.health["rewinds"] += 1
            first = (await self._js.stream_info(self.table.stream)).state.first_seq
            await self.rewind(lost.start)
            # What the stream lost before the table had it, or before it is read again, is found as a hole.
            self._watermark.go_back(min(mark.sequence, (lost.start or first) - 1))
        if unclean > mark.rewound:
            self._watermark.answered(unclean)
        if mark.sequence and mark.created:
            self._watermark.note(transactions, self._clock(), self._rewind)

    async def _inspect(self) -> None:
        """Compare the stream with the watermark; a stream that went back is read again from its start."""
        self._checked, self._reconnects = self._monotonic(), self._nats.stats["reconnects"]
        await self._look_for_loss()
        stream = await self._js.stream_info(self.table.stream)
        durable = await self._durable.ensure(self._js)
        created = stream.created.isoformat() if stream.created else ""
        finding = self._watermark.compare(created, stream.state.first_seq, stream.state.last_seq)
        if finding is not None:
            log.warning(
                "stream_" + finding.what, stream=self.table.stream, table=self.table.name, messages=finding.messages
            )
            self.health["holes" if finding.what == "hole" else "regressed"] += 1
            if self.table.refilled:
                self._lost.append(finding)
            if finding.what != "hole":  # the table still has what it had, so copies may go on being dropped
                await self._durable.restart(self._js)
                await self._pull.renew()
        elif not durable.num_pending and not durable.num_ack_pending:
            self._watermark.advance(stream.state.last_seq)  # what is left belongs to other subjects
        self.health["lag"] = durable.num_pending or 0
        if self._lost:
            first = stream.state.first_seq
            await _lost.report(self._js, self._questdb, self.table.stream, first, self._lost, self._clock())
            self._lost.clear()

    def _count(self, batch: Batch[E]) -> None:
        health = self.health
        health["rows"] += batch.rows
        health["duplicates"] += batch.duplicates
        health["expired"] += batch.expired
        health["dead"] += len(batch.dead)
        health["lag"] = pending(batch.messages[-1])
        health["stored"] = stored(batch.messages[-1])
        if batch.conflicts:
            health["conflicts"] += batch.conflicts
            log.warning("copies_disagree", table=self.table.name, count=batch.conflicts, last=batch.conflict)
