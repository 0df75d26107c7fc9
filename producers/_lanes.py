"""Events waiting to be sent, one lane a subject, and how they are cut into messages."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter

import msgspec

from schemas import names
from schemas.events import Event, Kline, Trade, kind

EVENTS_MAX = 500
BYTES_MAX = 256_000
SKEW_US = 500_000
"""Half of the second by which candles wait for stragglers."""
_timestamp = attrgetter("timestamp")
_encoder = msgspec.json.Encoder()


class Message(msgspec.Struct, gc=False):
    """A message on its way. ``first`` and ``last`` are kept to say what was dropped, if it has to be."""

    subject: str
    headers: dict[str, str]
    payload: bytes
    count: int = 1
    first: Event | None = None
    last: Event | None = None
    segment: int = 0
    """The spool segment it was read from; 0: it was never on disk."""
    due: float = 0.0
    """When it is to be sent again if no answer came, by the monotonic clock."""


class _Lane:
    __slots__ = ("dirty", "events", "exchange", "subject", "symbol", "taken")

    def __init__(self, subject: str, exchange: str, symbol: str) -> None:
        self.subject, self.exchange, self.symbol = subject, exchange, symbol
        self.events: list[Event] = []
        self.taken = 0
        """Events that have left it."""
        self.dirty = False
        """Whether it is among those that wait to be cut, or is being cut."""


class Lanes:
    """Waiting events by subject; order within a subject is kept, lanes take turns of ``skew_us`` of event time."""

    def __init__(self, skew_us: int = SKEW_US) -> None:
        self.waiting = 0
        self._skew_us = skew_us
        self._tables: dict[type[Event], dict[str, _Lane]] = {}
        self._dirty: deque[_Lane] = deque()

    def add(self, event: Event) -> None:
        """Put an event (not a ``Clock``) at the end of its lane."""
        its = type(event)
        key: str = event.symbol + event.interval if its is Kline else event.symbol  # type: ignore[union-attr]  # no Clock
        try:
            lane = self._tables[its][key]
        except KeyError:
            lane = _Lane(names.event_subject(event), event.exchange, event.symbol)  # type: ignore[union-attr]  # no Clock
            self._tables.setdefault(its, {})[key] = lane
        if not lane.dirty:
            lane.dirty = True
            self._dirty.append(lane)
        lane.events.append(event)
        self.waiting += 1

    def taken(self) -> dict[str, int]:
        """Events that have left, by kind."""
        return {kind(event): sum(lane.taken for lane in its.values()) for event, its in self._tables.items()}

    def fence(self) -> Callable[[], bool]:
        """Whether everything that waits now has left."""
        lanes = (lane for table in self._tables.values() for lane in table.values() if lane.events)
        waiting = [(lane, lane.taken + len(lane.events)) for lane in lanes]
        return lambda: all(lane.taken >= count for lane, count in waiting)

    def cut(self, room: int, *, together: bool) -> Iterator[Message]:
        """At most ``room`` messages, removed from their lanes: one event each, or many ``together``.

        Lanes take turns within the skew of the oldest waiting event, so that in the log no symbol runs far ahead of
        another: candles close by the exchange's time, and a symbol that lags behind would be late for all of them.
        """
        while room > 0 and self._dirty:
            until = min(lane.events[0].timestamp for lane in self._dirty) + self._skew_us
            for _ in range(len(self._dirty)):
                lane = self._dirty.popleft()
                if room > 0 and lane.events[0].timestamp <= until:
                    messages = self._take(lane, room, until, together=together)
                    room -= len(messages)
                    yield from messages  # while these are sent, more may be added to this lane
                if lane.events:
                    self._dirty.append(lane)
                else:
                    lane.dirty = False

    def _take(self, lane: _Lane, room: int, until: int, *, together: bool) -> list[Message]:
        """The first events of a lane, none later than ``until``; at least one."""
        events = lane.events
        size = len(events) if events[-1].timestamp <= until else bisect_right(events, until, key=_timestamp)
        size = max(1, min(size, _chunk(events[0]) if together else room))
        chunk, lane.events = events[:size], events[size:]
        self.waiting -= size
        lane.taken += size
        return [_several(lane, chunk)] if together else [single(event, lane.subject) for event in chunk]


def single(event: Event, subject: str = "") -> Message:
    """The message of one event."""
    headers = {names.HEADER_ID: names.event_message_id(event)}
    return Message(subject or names.event_subject(event), headers, _encoder.encode(event), 1, event, event)


def _chunk(event: Event) -> int:
    """How many events like this one fit into a message; sizes within a subject vary little, the limit is far off."""
    return max(1, min(EVENTS_MAX, BYTES_MAX // (len(_encoder.encode(event)) + 16)))


def _several(lane: _Lane, events: list[Event]) -> Message:
    if len(events) == 1:
        return single(events[0], lane.subject)
    ids = [e.trade_id if type(e) is Trade else names.event_message_id(e) for e in events]
    headers = {
        names.HEADER_ID: names.batch_message_id(lane.exchange, lane.symbol, ids),
        names.HEADER_EVENTS: str(len(events)),
    }
    payload = _encoder.encode_lines(events)[:-1]
    return Message(lane.subject, headers, payload, len(events), events[0], events[-1])
