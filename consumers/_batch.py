"""Messages to rows: decode each line, check it, drop copies and what is too old, set the unfit aside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic

import msgspec
from nats.aio.msg import Msg

from consumers._dead import Dead
from consumers._pull import stream_sequence
from consumers._questdb import Questdb, statement
from consumers._recent import Recent, Revisions
from consumers._table import E, Table
from schemas import events, time
from schemas.symbols import is_exchange, is_symbol

PLACES_MAX = 20_000


@dataclass
class Batch(Generic[E]):
    """What came of some messages. ``origins`` are their places in ``messages``, one for each event."""

    messages: list[Msg]
    events: list[E] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    duplicates: int = 0
    conflicts: int = 0
    conflict: str = ""
    expired: int = 0
    rows: int = 0


class Sieve(Generic[E]):
    """Turns messages of a table's subjects into a batch. ``ttl`` in µs, 0 = for ever; ``clock`` is µs."""

    def __init__(self, table: Table[E], ttl: int, clock: Callable[[], int]) -> None:
        self._table, self._ttl, self._clock = table, ttl, clock
        decoder = msgspec.json.Decoder(table.event)
        self._decode, self._decode_lines = decoder.decode, decoder.decode_lines
        self._identity: Callable[[E], Hashable] = table.identity or events.identity  # type: ignore[assignment]  # E is then an Event
        self._places: dict[str, tuple[str, str, str]] = {}
        self.recent, self.revisions = Recent(), Revisions()
        self.latest = 0
        """Timestamp of the newest row in the table."""

    def sift(self, messages: list[Msg]) -> Batch[E]:
        """The batch of these messages."""
        batch: Batch[E] = Batch(messages)
        newest: dict[Hashable, tuple[E, int]] = {}
        for origin, message in enumerate(messages):
            place = self._place(message.subject)
            found = self._fit(batch, message, place)
            if self._table.version is None:
                self._first(batch, found, origin)
            else:
                self._newest(batch, found, origin, newest)
        if newest:
            batch.events = [event for event, _ in newest.values()]
            batch.origins = [origin for _, origin in newest.values()]
        self._expire(batch)
        return batch

    async def learn(self, questdb: Questdb) -> None:
        """Take over from the table what a run before this one knew. Raises QuestdbUnreachable, QuestdbRefused."""
        latest = await questdb.fetch(statement("latest", table=self._table.name))
        self.latest = (latest[0][0] if latest else None) or 0
        if self._table.versions:
            for *identity, revision, second in await questdb.fetch(statement(self._table.versions)):
                self.revisions.newer(tuple(identity), (revision, second or 0))
        elif self._table.version is None and self._table.keys == (
            "exchange",
            "symbol",
        ):  # the first of a slot wins, whoever sent it
            for slot in await questdb.fetch(statement("slots", table=self._table.name)):
                self.recent.seen(slot, 0)

    def forget(self) -> None:
        """Write again what comes again: the table, or the stream, is not what it was."""
        self.recent.clear()
        self.revisions.clear()

    def _first(self, batch: Batch[E], found: Iterable[E], origin: int) -> None:
        seen, identity, content = self.recent.seen, self._identity, self._table.content
        for event in found:
            copy = seen(identity(event), content(event))
            if copy is False:
                batch.events.append(event)
                batch.origins.append(origin)
                continue
            batch.duplicates += 1
            if copy is None:
                batch.conflicts += 1
                batch.conflict = repr(identity(event))

    def _newest(self, batch: Batch[E], found: Iterable[E], origin: int, newest: dict[Hashable, tuple[E, int]]) -> None:
        version = self._table.version
        assert version is not None
        for event in found:
            identity = self._identity(event)
            if self.revisions.newer(identity, version(event, stream_sequence(batch.messages[origin]))):
                newest[identity] = (event, origin)
            else:
                batch.duplicates += 1

    def _fit(self, batch: Batch[E], message: Msg, place: tuple[str, str, str]) -> list[E]:
        """The events of a message that may be stored; the others become dead letters."""
        data = message.data
        if not data and "KV-Operation" in (message.headers or {}):
            return []  # a key that was deleted: the rows that tell of it stay
        try:
            found = self._decode_lines(data) if b"\n" in data else [self._decode(data)]
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; deep nesting is a RecursionError
            found = self._line_by_line(batch, message, place)
        fit = []
        for line, event in enumerate(found):
            reason = self._problem(event, place)
            if reason:
                self._bury(batch, message, place, events.encode(event), reason, f"e{line}")
            else:
                fit.append(event)
        return fit

    def _line_by_line(self, batch: Batch[E], message: Msg, place: tuple[str, str, str]) -> list[E]:
        found = []
        for number, line in enumerate(message.data.split(b"\n")):
            if line.strip() or not message.data.strip():
                try:
                    found.append(self._decode(line))
                except (ValueError, RecursionError) as error:
                    self._bury(batch, message, place, line, f"does not decode: {error}", f"l{number}")
        return found

    def _problem(self, event: Any, place: tuple[str, str, str]) -> str:
        exchange, symbol, interval = place
        if event.exchange != exchange or event.symbol != symbol or (interval and event.interval != interval):
            return "exchange, symbol or interval are not those of the subject"
        if not time.EARLIEST <= event.timestamp <= self._clock() + time.AHEAD_MAX:
            return "impossible timestamp"
        return self._table.problem(event)

    def _place(self, subject: str) -> tuple[str, str, str]:
        """Exchange, symbol and interval a subject names; the exchange is empty where it is nobody's."""
        known = self._places.get(subject)
        if known is None:
            tokens = subject.split(".")
            good = len(tokens) in (4, 5) and is_exchange(tokens[2]) and is_symbol(tokens[3])
            known = (tokens[2], tokens[3], tokens[4] if len(tokens) == 5 else "") if good else ("", "", "")
            if len(self._places) >= PLACES_MAX:
                self._places.clear()
            self._places[subject] = known
        return known

    def _bury(
        self, batch: Batch[E], message: Msg, place: tuple[str, str, str], data: bytes, reason: str, mark: str
    ) -> None:
        origin = f"{self._table.stream}:{stream_sequence(message)}"
        batch.dead.append(Dead(self._table.kind, place[0], data, reason, origin, mark))

    def bury_row(self, batch: Batch[E], index: int, reason: str) -> None:
        """A row QuestDB refused: its event becomes a dead letter."""
        event, message = batch.events[index], batch.messages[batch.origins[index]]
        for memory in (self.recent, self.revisions):
            memory.forget(self._identity(event))
        self._bury(batch, message, self._place(message.subject), events.encode(event), reason, f"r{index}")

    def _expire(self, batch: Batch[E]) -> None:
        """Leave out what QuestDB would drop: it measures a TTL from min(newest row, now)."""
        if not batch.events:
            return
        stamps = [event.timestamp for event in batch.events]  # type: ignore[attr-defined]  # every event has one
        self.latest = max(self.latest, *stamps, 0)
        oldest = min(self.latest, self._clock()) - self._ttl
        if not self._ttl or min(stamps) >= oldest:
            return
        kept = [index for index, stamp in enumerate(stamps) if stamp >= oldest]
        batch.expired = len(stamps) - len(kept)
        batch.events = [batch.events[index] for index in kept]
        batch.origins = [batch.origins[index] for index in kept]
