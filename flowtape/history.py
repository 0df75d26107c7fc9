"""What was received between two moments, in order of receipt: from the streams, and from tables for what those lost."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client

from consumers._questdb import Questdb, statement
from schemas import events, names, time
from schemas.names import WORDS, Word
from signals._decode import Message
from signals._jetstream import StreamAnswer, StreamFacts, facts, request
from signals._stream import Reader

BATCH = 2_000
SILENCE_S_MAX = 30
STORED_LATE_MAX = time.MINUTE
"""A message is in its stream at most so long after its receipt, and clocks differ no more."""
SEAM = 5 * time.SECOND
"""Where a stream begins its order of receipt is not exact: for so long the table still speaks."""
ROWS_MIN, ROWS_MAX = 20_000, 100_000
"""Rows a slice of a table should have; its length follows."""
SLICE_FIRST, SLICE_MIN, SLICE_MAX = time.MINUTE, time.SECOND, 6 * time.HOUR


class Past(NamedTuple):
    """A message of the past. ``at`` is its place in the order of receipt, µs; ``sequence`` that in its stream."""

    at: int
    subject: str
    payload: bytes
    sequence: int
    stream: str


class HistoryLost(RuntimeError):
    """A stream stopped answering, or was replaced, while it was read."""


class _Stamp(msgspec.Struct):
    received: int


_sides = msgspec.json.Decoder(list[list[float]]).decode
_stamp = msgspec.json.Decoder(_Stamp).decode
Batches = AsyncIterator[list[Past]]


def received(payload: bytes) -> int:
    """When the first event of a message came in, µs; 0 where it does not say."""
    try:
        return _stamp(payload.partition(b"\n")[0]).received
    except msgspec.DecodeError:
        return 0


async def first_after(nats: Client, stream: str, found: StreamFacts, moment: int) -> int:
    """The first sequence stored at ``moment`` (µs) or later; one past the last where there is none."""
    low, high = found.first, found.last + 1
    while low < high:
        middle = (low + high) // 2
        kept = await _stored(nats, stream, middle)
        if kept is None or kept[1] >= moment:
            high = middle
        else:
            low = kept[0] + 1
    return low


async def _stored(nats: Client, stream: str, sequence: int) -> tuple[int, int] | None:
    """Sequence and time (µs) of the first message at ``sequence`` or after it."""
    try:
        answer = await request(nats, f"STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": ">"})
    except StreamAnswer:
        return None
    moment = datetime.fromisoformat(answer["message"]["time"][:19] + "+00:00")
    return answer["message"]["seq"], int(moment.timestamp()) * time.SECOND


class Source:
    """One word's past between ``begin`` and ``end`` (µs)."""

    def __init__(self, word: Word, nats: Client, questdb: Questdb, begin: int, end: int) -> None:
        self._word, self._nats, self._questdb, self._begin, self._end = word, nats, questdb, begin, end

    async def batches(self) -> Batches:
        """All of it in order. Raises HistoryLost, QuestdbUnreachable, QuestdbRefused, StreamAnswer, nats errors."""
        found = await facts(self._nats, self._word.stream)
        seam = await self._seam(found)
        if seam > self._begin:
            numbered_max = found.first - 1 if found.last >= found.first else sys.maxsize
            async for rows in self._rows(min(seam, self._end), seam, numbered_max):
                yield rows
        if seam < self._end and found.last >= found.first:
            async for messages in self._messages(found, seam):
                yield messages

    async def _seam(self, found: StreamFacts) -> int:
        """From when on the stream has everything; ``end`` where it holds nothing."""
        if found.last < found.first:
            return self._end
        answer = await request(self._nats, f"STREAM.MSG.GET.{self._word.stream}", {"seq": found.first})
        first = received(base64.b64decode(answer["message"].get("data", "")))
        if first <= self._begin:
            return self._begin
        return first if found.first == 1 else first + SEAM  # of a stream that lost nothing no table need speak

    async def _messages(self, found: StreamFacts, seam: int) -> Batches:
        stream = self._word.stream
        start = await first_after(self._nats, stream, found, seam - STORED_LATE_MAX)
        reader = Reader(self._nats, stream, found.created, start - 1)
        at, silent = 0, 0
        try:
            while reader.sequence < found.last and at < self._end:
                messages = await reader.take(1.0, BATCH)
                silent = 0 if messages else silent + 1
                if silent > SILENCE_S_MAX:
                    raise HistoryLost(f"stream {stream} does not answer any more, at sequence {reader.sequence}")
                past: list[Past] = []
                for message in messages:
                    came = received(message.payload)
                    at = max(at, came)
                    if at >= self._end or message.sequence > found.last:
                        break
                    if came >= seam or (not came and at >= seam):
                        past.append(self._past(at, message))
                yield past
        finally:
            await reader.close()

    def _past(self, at: int, message: Message) -> Past:
        return Past(at, message.subject, message.payload, message.sequence, self._word.stream)

    async def _rows(self, until: int, received_before: int, numbered_max: int) -> Batches:
        """From the table: each event as its own message. Sequences count up to ``numbered_max``."""
        sql = statement(f"replay_{self._word.channel}")
        slice_us, begin, sequence = SLICE_FIRST, self._begin, 0
        while begin < until:
            end = min(begin + slice_us, until)
            rows = await self._questdb.fetch(sql, begin, end, received_before)
            if len(rows) > ROWS_MAX and slice_us > SLICE_MIN:
                slice_us = max(slice_us // 4, SLICE_MIN)
                continue
            past = []
            for at, *fields in rows:
                sequence = min(sequence + 1, numbered_max)
                event = _EVENTS[self._word.kind](*fields)
                past.append(Past(at, names.event_subject(event), events.encode(event), sequence, self._word.stream))
            yield past
            begin = end
            if len(rows) < ROWS_MIN:
                slice_us = min(slice_us * 2, SLICE_MAX)


def _book(*fields: Any) -> events.Book:
    """The sides come as text, prices and then quantities: the client cannot read arrays of QuestDB."""
    *plain, bids, asks = fields
    return events.Book(*plain, *([*zip(*_sides(side), strict=True)] for side in (bids, asks)))


_EVENTS: dict[str, Callable[..., events.Event]] = {
    **{events.kind(event): event for event in events.EVENTS if event is not events.Clock}, "book": _book,
}  # fmt: skip


async def merged(sources: list[Batches]) -> Batches:
    """Batches of several sources as one order of receipt; each source keeps its own."""
    heads: list[tuple[list[Past], Batches]] = []
    for source in sources:
        await _put(heads, source)
    while heads:
        heads.sort(key=lambda head: head[0][0].at)
        (batch, source), rest = heads[0], heads[1:]
        limit = rest[0][0][0].at if rest else batch[-1].at
        count = next((n for n, past in enumerate(batch) if past.at > limit), len(batch))
        yield batch[:count]
        heads = rest
        if count < len(batch):
            heads.append((batch[count:], source))
        else:
            await _put(heads, source)


async def _put(heads: list[tuple[list[Past], Batches]], source: Batches) -> None:
    """The next batch of a source that is not over."""
    async for batch in source:
        if batch:
            heads.append((batch, source))
            return


def past(nats: Client, questdb: list[Questdb], begin: int, end: int) -> Batches:
    """Everything received in [``begin``, ``end``) µs; ``questdb`` has a connection for each word."""
    sources = [Source(word, nats, its, begin, end) for word, its in zip(WORDS, questdb, strict=True)]
    return merged([source.batches() for source in sources])
