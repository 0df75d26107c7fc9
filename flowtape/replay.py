"""``flowtape replay``: history again, in order of receipt, on subjects of its own."""

from __future__ import annotations

import asyncio
import sys
import time as clocks
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig
from nats.js.errors import APIError, NotFoundError
from rich.console import Console
from rich.progress import Progress

from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable
from flowtape import bus
from flowtape.history import HistoryLost, Past, past
from flowtape.migrate import SIGNALS_PER_SUBJECT_MAX
from flowtape.ordered import Letter, Ordered, PublishFailed
from schemas import names, time
from schemas.names import HEADER_RECEIVED, HEADER_SEQUENCE, WORDS
from schemas.settings import Settings
from signals._jetstream import StreamAnswer
from signals._stream import StreamReplaced

AT_ONCE = 500
READER_S_MAX = 30.0
SIGNALS_SHARE = 10
"""The stream of what is computed may hold a tenth of what the replay may."""


class Order(NamedTuple):
    """What to replay: received in [``begin``, ``end``) µs, ``speed`` times as fast as it came (0: at once)."""

    prefix: str
    begin: int
    end: int
    speed: float
    bytes_max: int
    again: bool


class PrefixTaken(RuntimeError):
    """There is a replay under this prefix already."""


async def replay(settings: Settings, order: Order) -> int:
    """Replay, with a progress bar on stderr; 0, or 1 with the reason."""
    try:
        told = await _replay(settings, order)
    except PrefixTaken as error:
        print(f"flowtape: {error}", file=sys.stderr)
        return 2
    except (
        HistoryLost, PublishFailed, QuestdbUnreachable, QuestdbRefused, StreamAnswer, StreamReplaced, NatsError,
        APIError, OSError, TimeoutError,
    ) as error:  # fmt: skip
        print(f"flowtape: replay: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"{told['messages']:,} messages of {time.iso(order.begin)} to {time.iso(order.end)} on {order.prefix}.md.>")
    return 0


async def _replay(settings: Settings, order: Order) -> dict[str, object]:
    admin = await bus.connect(settings, "admin", reconnect=False)
    try:
        await _make_streams(admin, order)
    finally:
        await admin.close()
    reader, writer = await bus.connect(settings, "consumer"), await bus.connect(settings, "producer")
    tables = [Questdb(settings.questdb.pg) for _ in WORDS]
    try:
        outbox = Ordered(writer, names.replay_stream(order.prefix))
        await outbox.open()
        with Progress(console=Console(stderr=True), transient=True) as bar:
            return await Pass(order, reader, outbox, bar).run(tables)
    finally:
        for table in tables:
            await table.close()
        await reader.close()
        await writer.close()


async def _make_streams(admin: Client, order: Order) -> None:
    """Both streams anew. Raises PrefixTaken where there are some and they may not go."""
    js = admin.jetstream()
    for name, subjects, size, per_subject in (
        (names.replay_stream(order.prefix), names.prefixed(order.prefix, "md.>"), order.bytes_max, -1),
        (
            names.replay_signals(order.prefix), names.prefixed(order.prefix, "sig.>"),
            order.bytes_max // SIGNALS_SHARE, SIGNALS_PER_SUBJECT_MAX,
        ),
    ):  # fmt: skip
        try:
            await js.stream_info(name)
        except NotFoundError:
            pass
        else:
            if not order.again:
                raise PrefixTaken(f"stream {name} holds an earlier replay; --again replaces it")
            await js.delete_stream(name)
        await js.add_stream(
            StreamConfig(
                name=name, subjects=[subjects], retention=RetentionPolicy.LIMITS, discard=DiscardPolicy.OLD,
                storage=StorageType.FILE, compression=StoreCompression.S2, allow_direct=True, max_bytes=size,
                max_msgs_per_subject=per_subject, duplicate_window=names.DUPLICATE_WINDOW_S,
            )
        )  # fmt: skip


class Pass:
    """One run through the past."""

    def __init__(
        self, order: Order, reader: Client, outbox: Ordered, bar: Progress, *,
        monotonic: Callable[[], float] = clocks.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._order, self._reader, self._outbox, self._bar = order, reader, outbox, bar
        self._monotonic, self._sleep = monotonic, sleep
        self._kinds: Counter[str] = Counter()
        self._sequences: dict[str, int] = {}
        self._unread = 0
        self._began = monotonic()

    async def run(self, tables: list[Questdb]) -> dict[str, object]:
        """Publish it all, then the end; what the end says."""
        order = self._order
        task = self._bar.add_task(order.prefix, total=order.end - order.begin)
        async for batch in past(self._reader, tables, order.begin, order.end):
            for first in range(0, len(batch), AT_ONCE):
                await self._publish(batch[first : first + AT_ONCE])
            self._bar.update(task, completed=batch[-1].at - order.begin)
        told: dict[str, object] = {
            "from": order.begin, "to": order.end, "messages": self._kinds.total(), "kinds": dict(self._kinds),
            "sequences": self._sequences,
        }  # fmt: skip
        await self._outbox.send([Letter(names.end_subject(order.prefix), msgspec.json.encode(told), {})])
        await self._outbox.settle()
        return told

    async def _publish(self, some: list[Past]) -> None:
        """In portions that are due together."""
        while some:
            count = await self._due(some)
            letters = [self._letter(it) for it in some[:count]]
            await self._outbox.send(letters)
            await self._spare_readers(sum(len(letter.payload) for letter in letters))
            some = some[count:]

    def _letter(self, it: Past) -> Letter:
        self._kinds[it.subject.split(".", 2)[1]] += 1
        self._sequences[it.stream] = it.sequence
        headers = {HEADER_SEQUENCE: str(it.sequence), HEADER_RECEIVED: str(it.at)}
        return Letter(names.prefixed(self._order.prefix, it.subject), it.payload, headers)

    async def _due(self, some: list[Past]) -> int:
        """Wait until the first is due; how many are."""
        speed = self._order.speed
        if not speed:
            return len(some)
        wait_s = (some[0].at - self._order.begin) / time.SECOND / speed - (self._monotonic() - self._began)
        if wait_s > 0:
            await self._sleep(wait_s)
        now = self._order.begin + (self._monotonic() - self._began) * speed * time.SECOND
        return max(1, sum(it.at <= now for it in some))

    async def _spare_readers(self, size: int) -> None:
        """Do not let the stream run over what a reader, as long as it moves, has not read."""
        self._unread += size
        if self._unread < self._order.bytes_max // 8:
            return
        self._unread = 0
        js, stream = self._reader.jetstream(), names.replay_stream(self._order.prefix)
        least, since = -1, self._monotonic()
        while True:  # ends with the readers' progress, or without it after READER_S_MAX
            state = (await js.stream_info(stream)).state
            pending = [info.num_pending or 0 for info in await js.consumers_info(stream)]
            behind = max(pending, default=0) * state.bytes / max(state.messages, 1)
            if behind < self._order.bytes_max / 2:
                return
            if least < 0 or max(pending) < least:
                least, since = max(pending), self._monotonic()
            if self._monotonic() - since > READER_S_MAX:
                return
            await self._sleep(0.2)
