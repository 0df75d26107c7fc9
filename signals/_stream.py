"""Reads a stream in order from a sequence on, by a pull of its own; begins again where it was cut off."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from schemas import time
from signals._decode import Message
from signals._jetstream import API, StreamAnswer, facts, request

_log = structlog.get_logger()
PULL = 8_000
"""Messages asked for at once; so many may wait here."""
PULL_BYTES = 16_000_000
"""Bytes one pull may bring: messages of many events are large."""
_EXPIRES_S = 30
_SILENCE_S_MAX = 5.0
"""Without a message or a status for so long the server is asked how the consumer is."""


class StreamReplaced(Exception):
    """The stream is another one than the one that was read: it was deleted and made again."""

    def __init__(self, stream: str, created: str) -> None:
        super().__init__(f"stream {stream} was created anew at {created}")
        self.stream, self.created = stream, created


class Reader:
    """Messages after ``sequence``, each once, in order; of ``subjects`` alone where some are named.

    ``take`` is the only thing that waits. At most ``pull`` messages and ``pull_bytes`` bytes wait here. ``since`` (µs)
    is where to begin by arrival while ``sequence`` is 0.
    """

    def __init__(
        self, nats: Client, stream: str, created: str, sequence: int, *,
        subjects: Sequence[str] = (), since: int = 0, pull: int = PULL, pull_bytes: int = PULL_BYTES,
    ) -> None:  # fmt: skip
        self._subjects, self._since = list(subjects), since
        self._pull, self._pull_bytes = pull, pull_bytes
        self._nats = nats
        self._stream = stream
        self._created = created
        self._wanted = 1
        self.sequence = sequence
        """Of the last message handed out."""
        self._newest = sequence
        """Of the last one that came; those in between wait here."""
        self._waiting: list[Message] = []
        self._arrived = asyncio.Event()
        self._asked = 0
        self._consumer = ""
        self._delivered = 0
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._broken = True
        self._heard_at = 0.0
        self._behind = -1
        self.restarts = -1
        self.missing = 0
        """Messages the stream had dropped before they were read."""

    @property
    def pending(self) -> int:
        """Messages of the stream behind the last one handed out, as last heard; -1 before the first."""
        return self._behind if self._behind < 0 else self._behind + len(self._waiting)

    async def take(self, timeout_s: float, enough: int = PULL) -> list[Message]:
        """What has arrived: at once if ``enough`` did, else after ``timeout_s``. Empty where nothing came.

        Raises StreamReplaced.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while len(self._waiting) < enough:
            if self._broken and not await self._begin():
                await asyncio.sleep(min(max(until - loop.time(), 0), 0.5))
            left = until - loop.time()
            if left <= 0 or (self._waiting and self._asked <= self._pull // 4):
                break
            self._arrived.clear()
            self._wanted = enough
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                break
        taken, self._waiting = self._waiting, []
        self.sequence = self._newest
        await self._ask()
        if not taken and loop.time() - self._heard_at > _SILENCE_S_MAX:
            await self._check()
        return taken

    async def _begin(self) -> bool:
        """Make a consumer that starts after the last message. False when the server did not let us."""
        await self.close()
        name = f"reader-{secrets.token_hex(6)}"
        config: dict[str, Any] = {
            "name": name,
            **self._place(),
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": 60_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
            "max_waiting": 8,
        }
        if self._subjects:
            config["filter_subjects"] = self._subjects
        try:
            found = await facts(self._nats, self._stream)
            if found.created != self._created:
                raise StreamReplaced(self._stream, found.created)
            if found.first > self._newest + 1 and not self._subjects:
                self.missing += found.first - self._newest - 1
            info = await request(
                self._nats, f"CONSUMER.CREATE.{self._stream}.{name}",
                {"stream_name": self._stream, "config": config, "action": "create"},
            )  # fmt: skip
            self._inbox = self._nats.new_inbox()
            self._subscription = await self._nats.subscribe(
                self._inbox, cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except (nats.errors.Error, StreamAnswer, OSError, TimeoutError) as error:
            _log.warning("reader_waits", stream=self._stream, reason=str(error) or type(error).__name__)
            return False
        self._consumer, self._delivered, self._asked, self._broken = name, 0, 0, False
        self._behind = info.get("num_pending", 0)
        self.restarts += 1
        self._heard_at = asyncio.get_running_loop().time()
        await self._ask()
        return True

    def _place(self) -> dict[str, Any]:
        """From where on."""
        if self._newest == 0 and self._since:
            return {"deliver_policy": "by_start_time", "opt_start_time": time.iso(self._since)}
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._newest + 1}

    async def _ask(self) -> None:
        """Keep at least half of ``PULL`` asked for, counting what waits here."""
        room = self._pull - self._asked - len(self._waiting)
        if self._broken or room < self._pull // 2:
            return
        body = json.dumps({"batch": room, "max_bytes": self._pull_bytes, "expires": _EXPIRES_S * 10**9}).encode()
        try:
            await self._nats.publish(f"{API}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}", body, self._inbox)
            self._asked += room
        except (nats.errors.Error, OSError):
            self._broken = True

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not message.reply:
            if message.subject == self._inbox:
                self._on_status(message.headers or {})
            return
        fields = message.reply.split(".")
        at = 5 if len(fields) == 9 else 7
        if self._broken or fields[at - 2] != self._consumer:
            return
        sequence, delivered = int(fields[at]), int(fields[at + 1])
        if delivered != self._delivered + 1:
            # Something between was lost on the way; nothing after it may be used.
            self._broken = True
            self._arrived.set()
            return
        self._delivered = delivered
        self._asked -= 1
        self._newest = sequence
        self._behind = int(fields[at + 3])
        self._waiting.append(Message(message.subject, message.data, sequence))
        if len(self._waiting) >= self._wanted or self._asked <= self._pull // 4:
            self._arrived.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        """A pull ended: all it asked for, time and bytes end it in peace, anything else means the consumer is gone."""
        self._asked -= min(int(headers.get("Nats-Pending-Messages", self._asked)), self._asked)
        text = headers.get("Description", "")
        peace = headers.get("Status") in ("404", "408", "100") or "MaxBytes" in text or text == "Batch Completed"
        self._broken = self._broken or not peace
        self._arrived.set()

    async def _check(self) -> None:
        """After silence: the consumer may be gone with the server, or its pull lost."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            info = await request(self._nats, f"CONSUMER.INFO.{self._stream}.{self._consumer}")
        except StreamAnswer:
            self._broken = True
            return
        except (nats.errors.Error, OSError, TimeoutError):
            return
        self._behind = info.get("num_pending", 0)
        if not info.get("num_waiting") or self._behind or info["delivered"]["consumer_seq"] != self._delivered:
            self._broken = True

    async def close(self) -> None:
        """Stop reading; the server forgets the consumer by itself."""
        self._broken = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except (nats.errors.Error, OSError):
                _log.info("reader_unsubscribe_failed", stream=self._stream)
