"""A pull that never stops: asks JetStream for more before the last request is used up.

nats-py's ``fetch`` runs a timer per message (27–59 µs each); this takes 6–8. Asking stops while the buffer is full,
so an outage behind us does not grow memory.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

log = structlog.get_logger()

EXPIRES_S, HEARTBEAT_S = 30, 5
SILENCE_S_MAX = 2.5 * HEARTBEAT_S
"""Without message, heartbeat or status for this long while we asked: the server has lost the request."""
BYTES_MAX = 8 * 1024 * 1024
"""Bytes one request may bring, and bytes buffered above which nothing is asked for."""
_GONE = ("Consumer Deleted", "Consumer is push based", "No Responders")


def stream_sequence(message: Msg) -> int:
    """A message's sequence in its stream, from the reply subject (both its forms)."""
    tokens = message.reply.split(".")
    return int(tokens[5] if len(tokens) == 9 else tokens[7])


def pending(message: Msg) -> int:
    """How many messages the consumer had yet to get when this one was sent."""
    tokens = message.reply.split(".")
    return int(tokens[8] if len(tokens) == 9 else tokens[10])


def stored(message: Msg) -> int:
    """When the stream stored a message, in µs."""
    tokens = message.reply.split(".")
    return int(tokens[7] if len(tokens) == 9 else tokens[9]) // 1000


class Pull:
    """Messages of one durable consumer. At most ``messages_max`` are asked for or buffered."""

    def __init__(
        self, nats: Client, stream: str, durable: str, messages_max: int, monotonic: Callable[[], float]
    ) -> None:
        self._nats, self._monotonic = nats, monotonic
        self._ask_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._durable, self._messages_max = durable, messages_max
        self._buffer: deque[Msg] = deque()
        self._bytes = self._rows = self._asked = 0
        self._rows_wanted = 1
        self._ready = asyncio.Event()
        self._inbox = nats.new_inbox()
        self._subscription: Subscription | None = None
        self._heard = monotonic()
        self._reconnects = -1
        self.gone = False
        """The durable is not there any more: make it again, then ``renew``."""

    async def open(self) -> None:
        """Subscribe and ask for the first messages."""
        self._subscription = await self._nats.subscribe(
            self._inbox, cb=self._on_message, pending_msgs_limit=4 * self._messages_max, pending_bytes_limit=0
        )
        await self.renew()

    async def close(self) -> None:
        """Stop listening; what is buffered is delivered again to the next who asks."""
        if self._subscription is None:
            return
        try:
            await self._subscription.unsubscribe()
        except NatsError as error:
            log.info("pull_closed", durable=self._durable, error=repr(error))

    async def renew(self) -> None:
        """Forget what was asked and ask anew: after a reconnect, a server restart, a new durable."""
        self._asked, self.gone, self._heard = 0, False, self._monotonic()
        self._reconnects = self._nats.stats["reconnects"]
        await self._ask()

    def drop(self) -> None:
        """Let go of what is buffered: it is delivered again."""
        self._buffer.clear()
        self._bytes = self._rows = 0

    async def take(self, rows: int, wait_s: float) -> list[Msg]:
        """Messages with ``rows`` lines or a few more, fewer (or none) after ``wait_s``."""
        if self._rows < rows and self._bytes <= BYTES_MAX:
            self._rows_wanted = rows
            self._ready.clear()
            try:
                await asyncio.wait_for(self._ready.wait(), wait_s)
            except TimeoutError:
                await self._check()
        taken, count = [], 0
        while self._buffer and count < rows:
            message = self._buffer.popleft()
            taken.append(message)
            count += message.data.count(b"\n") + 1
            self._bytes -= len(message.data)
        self._rows -= count
        await self._ask()
        return taken

    async def ack(self, messages: Sequence[Msg], body: bytes = b"") -> None:
        """Send an ack for each (``+WPI``: still at work). One that gets lost means a redelivery, nothing worse."""
        if not messages or not self._nats.is_connected:
            return
        try:
            # `publish` for each would cost as much as decoding and writing the row
            end = b" %d\r\n%b\r\n" % (len(body), body)
            await self._nats._send_command(b"".join(b"PUB %b%b" % (m.reply.encode(), end) for m in messages[:-1]))
            await self._nats.publish(messages[-1].reply, body)
        except NatsError as error:
            log.info("acks_unsent", durable=self._durable, error=repr(error))

    async def working(self, held: Sequence[Msg]) -> None:
        """Tell the server that ``held`` and what is buffered are still being worked on."""
        await self.ack([*held, *self._buffer], b"+WPI")

    async def _on_message(self, message: Msg) -> None:
        self._heard = self._monotonic()
        if not message.reply:
            if self._on_status(message.headers or {}):
                await self._ask()
            return
        self._buffer.append(message)
        self._asked = max(0, self._asked - 1)
        self._bytes += len(message.data)
        self._rows += message.data.count(b"\n") + 1
        if self._rows >= self._rows_wanted or self._bytes > BYTES_MAX:
            self._ready.set()
        if self._asked < self._messages_max // 2:
            await self._ask()

    def _on_status(self, headers: dict[str, str]) -> bool:
        """A request ended. Whether because its bytes were used up: then the next is sent at once, or ``take`` waits."""
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100" or text == "Batch Completed":
            return False
        left = headers.get("Nats-Pending-Messages", "")
        self._asked = max(0, self._asked - int(left)) if left.isdigit() else 0
        if status == "503" or text in _GONE:
            self.gone = True
        elif status == "409" and "MaxBytes" not in text:
            log.info("pull_refused", durable=self._durable, reason=text)
        return "MaxBytes" in text

    async def _check(self) -> None:
        """Nothing came in time: see whether the server may have forgotten us."""
        silent = self._monotonic() - self._heard > SILENCE_S_MAX
        if self._nats.stats["reconnects"] != self._reconnects or (silent and self._asked):
            self.gone = self.gone or silent
            await self.renew_if_there()

    async def renew_if_there(self) -> None:
        """Ask anew unless the durable has to be made first."""
        gone = self.gone
        await self.renew()
        self.gone = gone

    async def _ask(self) -> None:
        wanted = self._messages_max - self._asked - len(self._buffer)
        if self.gone or wanted < self._messages_max // 2 or self._bytes > BYTES_MAX:
            return
        request = {
            "batch": wanted,
            "max_bytes": max(BYTES_MAX, self._nats.max_payload + 4096),
            "expires": EXPIRES_S * 10**9,
            "idle_heartbeat": HEARTBEAT_S * 10**9,
        }
        self._asked += wanted
        try:
            await self._nats.publish(self._ask_subject, json.dumps(request).encode(), reply=self._inbox)
        except NatsError as error:
            self._asked -= wanted
            log.info("pull_unsent", durable=self._durable, error=repr(error))
