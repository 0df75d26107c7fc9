"""Who gets what: feeds and their subscribers, and the turn that sends what has become due."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from simulator._connection import Connection
from simulator._faults import Faults
from simulator._frame import PING, frame
from simulator._tape import MINUTE_MS, Tape
from simulator._venue import Desk, Feed, Message, OnSlot, OnTrades, Slice

CATCH_UP_MS = 10_000
"""A turn sends at most this much of the past; a stalled loop catches up over several turns and loses nothing."""
SLOTS_MAX = 100
_GOING_AWAY = 1001


class _Subscribed:
    """A feed, who wants it, and how far it has been sent."""

    def __init__(self, feed: Feed, now_ms: int) -> None:
        self.feed, self.sent_ms = feed, now_ms
        self.connections: set[Connection] = set()
        self._next_ms = 0

    def due(self, now_ms: int) -> Iterator[Sequence[Message]]:
        """Messages since the last turn."""
        if self.feed.on_slot is not None:
            yield from self._slots(self.feed.on_slot, self.feed.every_ms, now_ms)
        elif now_ms < self._next_ms:
            self.sent_ms = max(self.sent_ms, now_ms)
        elif self.feed.on_trades is not None and self.feed.tape is not None and now_ms > self.sent_ms:
            yield from self._trades(self.feed.on_trades, self.feed.tape, now_ms)

    def _trades(self, on_trades: OnTrades, tape: Tape, now_ms: int) -> Iterator[Sequence[Message]]:
        until_ms = min(now_ms, self.sent_ms + CATCH_UP_MS)
        for minute in range((self.sent_ms + 1) // MINUTE_MS, until_ms // MINUTE_MS + 1):
            columns = tape.minute(minute)
            first = bisect_right(columns.times, self.sent_ms)
            last = bisect_right(columns.times, until_ms, first)
            self._next_ms = columns.times[last] if last < len(columns.times) else (minute + 1) * MINUTE_MS
            if last > first:
                yield on_trades(Slice(columns, first, last), now_ms)
        self.sent_ms = until_ms

    def _slots(self, on_slot: OnSlot, every_ms: int, now_ms: int) -> Iterator[Sequence[Message]]:
        first = (self.sent_ms // every_ms + 1) * every_ms
        for slot_ms in range(first, min(now_ms, first + (SLOTS_MAX - 1) * every_ms) + 1, every_ms):
            self.sent_ms = slot_ms
            yield on_slot(slot_ms)


class Hub:
    """One exchange's connections."""

    def __init__(self, desk: Desk, faults: Faults) -> None:
        self.desk, self._faults = desk, faults
        self.connections: set[Connection] = set()
        self._feeds: dict[str, _Subscribed] = {}
        self.counts: Counter[str] = Counter()
        """attempts, refused, slow, overrun (too many frames), unanswered (pings), sent (messages, by channel)."""
        self._attempts: deque[float] = deque(maxlen=desk.venue.limits.connections_in_5m)

    def admit(self, now_s: float) -> bool:
        """Whether one more connection is within what the exchange allows an address."""
        self.counts["attempts"] += 1
        full = len(self._attempts) == self._attempts.maxlen
        if full and self._attempts[0] > now_s - 300.0:
            return False
        self._attempts.append(now_s)
        return True

    def reset(self) -> None:
        """Forget counts and attempts; connections stay."""
        self.counts.clear()
        self._attempts.clear()

    def subscribe(self, connection: Connection, feed: Feed) -> None:
        """Send ``connection`` what happens from now on."""
        known = self._feeds.get(feed.key)
        if known is None:
            known = self._feeds[feed.key] = _Subscribed(feed, feed.since_ms or self.desk.now_ms())
        known.connections.add(connection)
        connection.feeds[feed.key] = feed

    def unsubscribe(self, connection: Connection, key: str) -> None:
        """Send it no more of this feed."""
        connection.feeds.pop(key, None)
        known = self._feeds.get(key)
        if known is not None:
            known.connections.discard(connection)
            if not known.connections:
                del self._feeds[key]

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        for key in list(connection.feeds):
            self.unsubscribe(connection, key)
        self.connections.discard(connection)

    def turn(self, now_ms: int) -> None:
        """Send everything that has become due."""
        for known in list(self._feeds.values()):
            for messages in known.due(now_ms):
                shaped = self._faults.shape(self.desk.venue.id, known.feed, messages)
                self._fan_out(known, shaped)
        self.flush()

    def late(self, feed: str, message: Message) -> None:
        """Send a message that a fault held back."""
        if (known := self._feeds.get(feed)) is not None:
            self._fan_out(known, (message,))

    def flush(self) -> None:
        """Write what is queued on every connection."""
        for connection in list(self.connections):
            if not connection.flush():
                self.counts["slow"] += 1

    def tend(self, now_s: float) -> None:
        """Ping every so often, and end connections that did not answer or whose time is up."""
        limits = self.desk.venue.limits
        for connection in list(self.connections):
            if now_s >= connection.ends_s:
                connection.close(_GOING_AWAY)
            elif now_s - connection.pong_s > limits.ping_s + limits.pong_s_max:
                self.counts["unanswered"] += 1
                connection.abort()
            elif now_s - connection.pinged_s > limits.ping_s:
                connection.pinged_s = now_s
                connection.queue(frame(str(self.desk.now_ms()).encode(), PING))
                connection.flush()

    def shut(self, ends_s: float) -> int:
        """Warn every connection, as far as the exchange does, and end it at ``ends_s``; how many there were."""
        for connection in list(self.connections):
            warning = connection.session.shutdown(self.desk.now_ms())
            if warning is not None:
                connection.queue(frame(warning))
            connection.ends_s = ends_s
        self.flush()
        return len(self.connections)

    def drop(self) -> int:
        """Reset every connection; how many there were."""
        for connection in list(self.connections):
            connection.abort()
        return len(self.connections)

    def _fan_out(self, known: _Subscribed, messages: Sequence[Message]) -> None:
        if not messages:
            return
        self.counts[f"sent {known.feed.channel}"] += len(messages)
        data = b"".join([frame(message.body, message.opcode) for message in messages])
        for connection in known.connections:
            if connection.stamps:
                stamp = connection.session.stamp
                connection.queue(b"".join([frame(stamp(m.body), m.opcode) for m in messages]))
            else:
                connection.queue(data)
