"""Durable publishing: ordered per symbol, pipelined, resent until acknowledged, never more than its bounds.

Order of what waits: messages in flight, then the spool, then the lanes. While the log is away, or cannot keep up,
lanes go to the spool; what the spool cannot take becomes a ``gap`` event. Delivery is at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, ConnectionDrainingError, MaxPayloadError, OutboundBufferLimitError

from producers._lanes import BYTES_MAX, Lanes, Message, single
from producers._overflow import Overflow
from producers._spool import Spool
from schemas import names
from schemas.events import Clock, Event, Gap

FLUSH_S = 0.01
AWAY_FLUSH_S = 0.05
AWAY_S_MAX = 1.0
"""Away for longer: what waits goes to disk, so that it survives us."""
ANSWER_S_MAX = 2.0
RETRY_S_MAX = 5.0
SCAN_S = 0.25
EVENT_BYTES = 512
"""What a waiting event costs in memory, roughly."""
SENDING_BYTES_MAX = 1 << 20
BULK_MESSAGES_MAX = 8
"""Messages of history in one go: live events wait for no more than these."""
BULK_SKEW_US = 1 << 62
"""History comes after what it precedes, whatever is done about it: nothing is gained by taking turns."""
_UNSENDABLE = (ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError)
log = structlog.get_logger()


class _Answer(msgspec.Struct):
    error: dict[str, Any] | None = None


_answer = msgspec.json.Decoder(_Answer).decode


class Outbox:
    """Events in, acknowledged messages out. ``add`` never waits; ``run`` does the work until ``close``."""

    def __init__(
        self, nats: Client, spool: Spool, *, memory: int, clock: Callable[[], int], monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]], window: int = 2048, together_above: int = 128,
    ) -> None:  # fmt: skip
        self._nats, self._spool, self._monotonic, self._sleep = nats, spool, monotonic, sleep
        self._clock = clock
        self._window, self._together_above = window, together_above
        self._waiting_max = max(1_000, memory // EVENT_BYTES)
        self._flying_bytes_max = max(1 << 20, memory // 2)
        self._lanes, self._overflow = Lanes(), Overflow(clock)
        self.dropped: Callable[[Gap], None] = self._lanes.add
        """Called with the gap of what had to be dropped; who replaces it has to ``add`` the gap."""
        self._bulk = Lanes(BULK_SKEW_US)
        self._clock_event: Clock | None = None
        self._flying: dict[int, Message] = {}
        self._flying_bytes = 0
        self._number = self._reconnects = 0
        self._inbox = ""
        self._wake = asyncio.Event()
        self._armed = self._closing = self._cutting = False
        self._away_since: float | None = None
        self._scanned = 0.0
        self._retry_s = 0.1
        self.counts = dict.fromkeys(
            ("published", "events", "duplicates", "resent", "refused", "spooled", "dropped", "dead", "dead_dropped"), 0
        )

    # --- in ----------------------------------------------------------------------------------------------------
    def add(self, event: Event) -> None:
        """Take an event; it is sent within a few milliseconds if the log is there."""
        self._lanes.add(event)
        if not self._armed:
            self._arm()

    def add_bulk(self, event: Event) -> None:
        """Take an event of history: many go in one message, once no live event waits."""
        self._bulk.add(event)
        if not self._armed:
            self._arm()

    def tick(self, event: Clock) -> None:
        """Send a clock event once everything before it is on its way; a later one replaces it."""
        self._clock_event = event
        if not self._armed:
            self._arm()

    def dead(self, kind: str, exchange: str, raw: bytes, reason: str, origin: str) -> None:
        """Quarantine raw bytes (cut at the message bound) with the reason."""
        self.counts["dead"] += 1
        if len(self._flying) >= 2 * self._window or self._flying_bytes > self._flying_bytes_max:
            self.counts["dead_dropped"] += 1
            return
        clean = reason.encode("ascii", "backslashreplace").decode()[:500].replace("\n", " ").replace("\r", " ")
        if len(raw) > BYTES_MAX:
            clean += f" (cut from {len(raw)} bytes)"
        headers = {
            names.HEADER_ID: names.dead_message_id(exchange, self._clock(), self._number, raw),
            names.HEADER_REASON: clean or "unknown", names.HEADER_ORIGIN: origin,
        }  # fmt: skip
        self._launch(Message(names.dead_subject(kind, exchange), headers, raw[:BYTES_MAX]))

    @property
    def idle(self) -> bool:
        """Whether everything added was acknowledged."""
        waiting = self._lanes.waiting + self._bulk.waiting
        return not (waiting or self._flying or self._spool.unread or self._clock_event)

    def fence(self) -> Callable[[], bool]:
        """Whether everything added before this call is in the log, or named in a gap event that is."""
        left, bulk_left, number = self._lanes.fence(), self._bulk.fence(), -1

        def passed() -> bool:
            nonlocal number
            if number < 0:
                # What is being cut is neither waiting nor in flight for a moment.
                if self._cutting or self._spool.unread or self._overflow.waiting or not (left() and bulk_left()):
                    return False
                number = self._number
            return not self._flying or next(iter(self._flying)) > number

        return passed

    def health(self) -> dict[str, Any]:
        """Counters and gauges."""
        kinds = self._lanes.taken()
        for kind, count in self._bulk.taken().items():
            kinds[kind] = kinds.get(kind, 0) + count
        return self.counts | {
            "kinds": kinds, "waiting": self._lanes.waiting + self._bulk.waiting, "in_flight": len(self._flying),
            "spool_bytes": self._spool.bytes, "connected": int(self._nats.is_connected),
        }  # fmt: skip

    # --- out ---------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Send until closed."""
        self._inbox = self._nats.new_inbox()
        await self._nats.subscribe(
            f"{self._inbox}.*", cb=self._acknowledged, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._reconnects = self._nats.stats["reconnects"]
        loop = asyncio.get_running_loop()
        scan = loop.call_later(SCAN_S, self._wake.set)
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._step()
            if scan.when() <= loop.time():
                scan = loop.call_later(SCAN_S, self._wake.set)
        scan.cancel()

    async def close(self, s_max: float) -> None:
        """Send what is left for at most ``s_max`` seconds; the rest goes to disk. ``run`` must have ended."""
        self._closing = True
        deadline = self._monotonic() + s_max
        while self._inbox and not self.idle and self._nats.is_connected and self._monotonic() < deadline:
            await self._step()
            await self._sleep(FLUSH_S)
        fresh = [message for message in self._flying.values() if not message.segment]
        if fresh and not self._spool.prepend(fresh):
            for message in fresh:
                self._drop(message, names.CAUSE_SPOOL)
        self._to_spool()
        for gap in self._overflow.gaps():
            self._spool.append(single(gap), force=True)
        self._spool.close()

    def stop(self) -> None:
        """Make ``run`` return."""
        self._closing = True
        self._wake.set()

    def _arm(self) -> None:
        self._armed = True
        pause = FLUSH_S if self._away_since is None else AWAY_FLUSH_S
        asyncio.get_running_loop().call_later(pause, self._wake.set)

    async def _step(self) -> None:
        self._armed = False
        now = self._monotonic()
        if not self._nats.is_connected:
            self._away_since = now if self._away_since is None else self._away_since
            if now - self._away_since > AWAY_S_MAX or self._lanes.waiting > self._waiting_max or self._spool.unread:
                self._to_spool()
            return
        self._away_since = None
        await self._resend(now)
        self._cutting = True
        await self._send()
        self._cutting = False
        if self._lanes.waiting > self._waiting_max or (self._lanes.waiting and self._spool.unread):
            self._to_spool()
        if self._lanes.waiting or self._bulk.waiting:
            self._arm()

    async def _send(self) -> None:
        while self._spool.unread and (room := self._room()) > 0:
            for message in self._spool.read(min(room, 64)):
                await self._publish(self._launch(message), message)
        if self._spool.unread:
            return
        for gap in self._overflow.gaps():
            self.dropped(gap)
        waiting, room = self._lanes.waiting, self._room()
        for message in self._lanes.cut(room, together=waiting > min(self._together_above, room)):
            await self._publish(self._launch(message), message)
        if not self._lanes.waiting:
            for message in self._bulk.cut(min(self._room(), BULK_MESSAGES_MAX), together=True):
                await self._publish(self._launch(message), message)
        if self._clock_event is not None and not self._lanes.waiting and self._room() > 0:
            message, self._clock_event = single(self._clock_event), None
            await self._publish(self._launch(message), message)

    def _room(self) -> int:
        if self._flying_bytes > self._flying_bytes_max or self._nats.pending_data_size > SENDING_BYTES_MAX:
            return 0
        return self._window - len(self._flying)

    def _launch(self, message: Message) -> int:
        self._number += 1
        self._flying[self._number] = message
        self._flying_bytes += len(message.payload)
        return self._number

    def _land(self, number: int) -> None:
        message = self._flying.pop(number)
        self._flying_bytes -= len(message.payload)
        if message.segment:
            self._spool.settle(message.segment)

    async def _publish(self, number: int, message: Message) -> None:
        message.due = self._monotonic() + ANSWER_S_MAX
        try:
            await self._nats.publish(message.subject, message.payload, f"{self._inbox}.{number}", message.headers)
        except MaxPayloadError:
            self._refuse(number, "larger than the server allows")
        except _UNSENDABLE:
            message.due = 0.0  # it stays in flight and is sent again when the connection is back

    async def _resend(self, now: float) -> None:
        """Send again, in the original order, what got no answer in time; after a reconnect all of it."""
        reconnects = self._nats.stats["reconnects"]
        again = reconnects != self._reconnects
        if not again and now - self._scanned < SCAN_S:
            return
        self._reconnects, self._scanned = reconnects, now
        for number, message in list(self._flying.items()):
            if (again or message.due <= now) and number in self._flying:
                self.counts["resent"] += message.due > 0.0
                await self._publish(number, message)

    async def _acknowledged(self, msg: Msg) -> None:
        number = int(msg.subject[len(self._inbox) + 1 :])
        message = self._flying.get(number)
        if message is None:
            return
        data = msg.data
        if b'"seq"' not in data or b'"error"' in data:
            self._failed(number, message, msg)
            return
        self._land(number)
        self._retry_s = 0.1
        self.counts["published"] += 1
        self.counts["events"] += message.count
        self.counts["duplicates"] += b'"duplicate"' in data
        if self._lanes.waiting and not self._wake.is_set() and len(self._flying) < self._window // 2:
            self._wake.set()

    def _failed(self, number: int, message: Message, msg: Msg) -> None:
        """An error answer: a message the server will never take is dropped with a trace, anything else retried."""
        try:
            error = _answer(msg.data).error or {}
        except msgspec.MsgspecError:
            error = {}
        if error.get("code") == 400:
            self._refuse(number, str(error.get("description")))
            return
        message.due = self._monotonic() + self._retry_s
        if self._retry_s < RETRY_S_MAX:
            self._retry_s = min(RETRY_S_MAX, self._retry_s * 2)
            log.warning("publish_failed", subject=message.subject, error=error or msg.headers, retry_s=self._retry_s)

    def _refuse(self, number: int, reason: str) -> None:
        message = self._flying[number]
        self._land(number)
        self.counts["refused"] += 1
        log.error("message_refused", subject=message.subject, events=message.count, reason=reason)
        self._drop(message, "refused")

    def _to_spool(self) -> None:
        for lanes in (self._lanes, self._bulk):
            for message in lanes.cut(1 << 30, together=True):
                if self._spool.append(message):
                    self.counts["spooled"] += message.count
                else:
                    self._drop(message, names.CAUSE_SPOOL)

    def _drop(self, message: Message, cause: str) -> None:
        self.counts["dropped"] += message.count
        self._overflow.note(message, cause)
