"""Faults on request. Each says how often it really fired, so that a test can prove it met what it was about."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec

from simulator._malformed import MALFORMED
from simulator._venue import Feed, Message

Kind = Literal[
    "drop", "mute", "skip", "duplicate", "reorder", "malformed", "huge", "delay", "refuse", "shutdown",
    "rest_429", "rest_418", "rest_500", "rest_html",
]  # fmt: skip
_IDS_MAX = 1_000


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to break. Empty ``exchange``, ``channel`` or ``symbol`` (the exchange's spelling) means every one.

    It ends after ``seconds`` or ``count`` firings, whichever comes first; 0 is no such end. A message, request or
    connection it hits is one firing.

    drop: close sockets with a reset, at once and once. refuse: reset new sockets. shutdown: warn, then close after
    ``seconds``. mute: send no data (answers and pongs go on). skip: leave out trades ``from_id`` to ``to_id``, or
    the next ``count`` messages with trades. duplicate; reorder (a message behind its follower); delay (by
    ``delay_ms``). malformed: a bad frame of kind ``variant`` (or each in turn) before the good one. huge: a frame
    of ``size`` bytes before it. rest_*: that answer instead of the right one, with ``retry_after`` seconds.
    """

    kind: Kind
    exchange: str = ""
    channel: str = ""
    symbol: str = ""
    seconds: float = 0.0
    count: int = 0
    from_id: int = 0
    to_id: int = 0
    delay_ms: int = 1_000
    variant: str = ""
    size: int = 16_000_000
    retry_after: int = 5


class Active(msgspec.Struct):
    """A fault and what it has done so far."""

    id: int
    fault: Fault
    until_s: float
    fired: int = 0
    ids: list[tuple[int, int]] = []
    """First and last trade id of the first thousand messages it hit."""

    def over(self, now_s: float) -> bool:
        """Whether it will not fire again."""
        return now_s >= self.until_s or 0 < self.fault.count <= self.fired

    def hits(self, exchange: str, feed: Feed | None = None) -> bool:
        """Whether it is about this exchange and feed."""
        fault = self.fault
        if fault.exchange not in ("", exchange):
            return False
        return feed is None or (fault.channel in ("", feed.channel) and fault.symbol in ("", feed.symbol))

    def spares(self, message: Message) -> bool:
        """Whether a message is none of those it is after."""
        fault = self.fault
        if fault.kind != "skip" or not message.last_id:
            return fault.kind == "skip"
        return fault.to_id > 0 and not (fault.from_id <= message.last_id and message.first_id <= fault.to_id)

    def fire(self, message: Message | None = None) -> None:
        """Count one firing."""
        self.fired += 1
        if message is not None and message.last_id and len(self.ids) < _IDS_MAX:
            self.ids.append((message.first_id, message.last_id))


class Late(NamedTuple):
    """A message that is sent at ``when`` (monotonic seconds) instead of when it was due."""

    when: float
    exchange: str
    feed: str
    message: Message


class Faults:
    """All faults asked for, of all exchanges."""

    def __init__(self, monotonic: Callable[[], float], rng: random.Random) -> None:
        self._monotonic, self._rng = monotonic, rng
        self.asked: list[Active] = []
        self._held: dict[tuple[int, str, str], Message] = {}
        self._late: list[Late] = []

    def add(self, fault: Fault) -> Active:
        """Begin a fault. Raises ValueError for a malformed frame of unknown kind."""
        if fault.variant and fault.variant not in MALFORMED:
            raise ValueError(f"unknown variant {fault.variant!r}; known are {', '.join(MALFORMED)}")
        until = self._monotonic() + fault.seconds if fault.seconds else float("inf")
        active = Active(len(self.asked) + 1, fault, until)
        self.asked.append(active)
        return active

    def clear(self) -> None:
        """End and forget every fault; what was delayed or waits for its follower is sent now."""
        self.asked.clear()
        waiting = [Late(0.0, exchange, feed, message) for (_, exchange, feed), message in self._held.items()]
        self._held.clear()
        self._late = [late._replace(when=0.0) for late in self._late] + waiting

    def take(self, exchange: str, *kinds: str) -> Active | None:
        """The first fault of these kinds that still fires on an exchange, fired."""
        now = self._monotonic()
        for active in self.asked:
            if active.fault.kind in kinds and active.hits(exchange) and not active.over(now):
                active.fire()
                return active
        return None

    def shape(self, exchange: str, feed: Feed, messages: Sequence[Message]) -> Sequence[Message]:
        """What is really sent of a feed's messages."""
        for active in self.asked:
            if active.fault.kind in _SHAPES and active.hits(exchange, feed):
                messages = [out for message in messages for out in self._shape(active, exchange, feed, message)]
        return messages

    def due(self) -> list[Late]:
        """Late messages whose time has come, in the order they were held back."""
        if not self._late:
            return []
        now = self._monotonic()
        due = [late for late in self._late if late.when <= now]
        self._late = [late for late in self._late if late.when > now]
        return due

    def _shape(self, active: Active, exchange: str, feed: Feed, message: Message) -> Sequence[Message]:
        held = self._held.pop((active.id, exchange, feed.key), None)
        if held is not None:
            active.fire(held)
            return (message, held)
        if active.over(self._monotonic()) or active.spares(message):
            return (message,)
        fault = active.fault
        if fault.kind == "reorder":
            self._held[active.id, exchange, feed.key] = message
            return ()
        active.fire(message)
        if fault.kind == "delay":
            self._late.append(Late(self._monotonic() + fault.delay_ms / 1_000, exchange, feed.key, message))
        return self._beside(active, message)

    def _beside(self, active: Active, message: Message) -> Sequence[Message]:
        fault = active.fault
        match fault.kind:
            case "duplicate":
                return (message, message)
            case "malformed":
                variant = fault.variant or list(MALFORMED)[(active.fired - 1) % len(MALFORMED)]
                return (MALFORMED[variant](message, self._rng), message)
            case "huge":
                return (Message(b'{"e":"' + b"x" * fault.size + b'"}'), message)
        return ()  # mute, skip, delay: nothing now


_SHAPES = frozenset(("mute", "skip", "duplicate", "reorder", "malformed", "huge", "delay"))
