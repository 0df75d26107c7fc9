"""Publishes closed candles to the log: pipelined, in order, each acknowledged or sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import NamedTuple

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from schemas.names import HEADER_ID

_log = structlog.get_logger()
WINDOW = 512
"""Messages that may wait for their acknowledgement."""
_RESEND_S = 3.0


class Letter(NamedTuple):
    """A message to be published."""

    subject: str
    payload: bytes
    message_id: str


class Publisher:
    """A bounded window of unacknowledged messages. The ids make sending twice harmless."""

    def __init__(self, nats: Client, monotonic: Callable[[], float]) -> None:
        self._nats = nats
        self._monotonic = monotonic
        self._inbox = nats.new_inbox()
        self._subscription: Subscription | None = None
        self._unacknowledged: dict[int, tuple[Letter, float]] = {}
        self._number = 0
        self._acknowledged = asyncio.Event()
        self.published = self.refused = self.resent = 0

    async def send(self, letters: list[Letter], stop: asyncio.Event) -> None:
        """Send all; waits while the window is full. Gives up only when ``stop`` is set."""
        for letter in letters:
            while len(self._unacknowledged) >= WINDOW:
                if not await self.settle(_RESEND_S, WINDOW - 1) and stop.is_set():
                    return
            self._number += 1
            await self._post(self._number, letter)

    async def settle(self, timeout_s: float, remaining: int = 0) -> bool:
        """Wait until at most ``remaining`` messages are unacknowledged; sends old ones again."""
        until = self._monotonic() + timeout_s
        while len(self._unacknowledged) > remaining:
            self._acknowledged.clear()
            left = until - self._monotonic()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._acknowledged.wait(), min(left, _RESEND_S))
            except TimeoutError:
                await self.resend()
        return True

    async def resend(self) -> None:
        """Send again what has waited too long."""
        old = self._monotonic() - _RESEND_S
        for number, (letter, at) in list(self._unacknowledged.items()):
            if at <= old:
                self.resent += 1
                await self._post(number, letter)

    async def _post(self, number: int, letter: Letter) -> None:
        self._unacknowledged[number] = letter, self._monotonic()
        try:
            if self._subscription is None:
                self._subscription = await self._nats.subscribe(f"{self._inbox}.*", cb=self._on_answer)
            headers = {HEADER_ID: letter.message_id}
            await self._nats.publish(letter.subject, letter.payload, f"{self._inbox}.{number}", headers)
        except (nats.errors.Error, OSError) as error:
            _log.warning("publish_waits", reason=str(error) or type(error).__name__)

    async def _on_answer(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        if message.headers and message.headers.get("Status"):
            return  # nobody listens now: sent again later
        error = json.loads(message.data).get("error")
        if error:
            self.refused += 1
            return
        if self._unacknowledged.pop(number, None) is not None:
            self.published += 1
        self._acknowledged.set()

    async def close(self) -> None:
        """Stop listening for acknowledgements."""
        if self._subscription is not None:
            try:
                await self._subscription.unsubscribe()
            except (nats.errors.Error, OSError):
                _log.info("publisher_unsubscribe_failed")
