"""Publishes into a stream of one's own: many messages on the way, each stored once, and never out of order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError

WINDOW = 2_000
"""Messages that may be on their way."""
BYTES_MAX = 16_000_000
ANSWER_S_MAX = 5.0
TRIES_MAX = 24


class Letter(NamedTuple):
    """A message and its headers."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class PublishFailed(RuntimeError):
    """The stream takes nothing any more."""


class _Answer(msgspec.Struct):
    seq: int = 0
    error: dict[str, object] | None = None


_answer = msgspec.json.Decoder(_Answer).decode


class Ordered:
    """The only publisher of ``stream``, which holds ``stored`` messages so far and numbers them from 1.

    Each message names the sequence before its own: one that was lost on the way, and all behind it, are refused by
    the server and sent again from there.
    """

    def __init__(self, nats: Client, stream: str, stored: int = 0) -> None:
        self._nats, self._stream = nats, stream
        self.stored = stored
        self._waiting: deque[Letter] = deque()
        self._bytes = 0
        self._inbox = nats.new_inbox()
        self._heard = asyncio.Event()
        self._failed = ""

    async def open(self) -> None:
        """Listen for answers."""
        await self._nats.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def send(self, letters: Sequence[Letter]) -> None:
        """Send, and wait as long as too much is on its way. Raises PublishFailed."""
        await self._post(letters, self.stored + len(self._waiting))
        self._waiting.extend(letters)
        self._bytes += sum(len(letter.payload) for letter in letters)
        await self._until(lambda: len(self._waiting) <= WINDOW and self._bytes <= BYTES_MAX)

    async def settle(self) -> None:
        """Until all is stored. Raises PublishFailed."""
        await self._until(lambda: not self._waiting)

    async def _until(self, there: Callable[[], bool]) -> None:
        tries = 0
        while not there():
            self._heard.clear()
            before = self.stored
            try:
                await asyncio.wait_for(self._heard.wait(), ANSWER_S_MAX)
            except TimeoutError:
                self._failed = self._failed or "no answer"
            tries = 0 if self.stored > before else tries + 1
            if tries > TRIES_MAX:
                raise PublishFailed(f"stream {self._stream} stored nothing for {tries} tries: {self._failed}")
            if self._failed:
                await self._again()

    async def _again(self) -> None:
        """See what is stored, and send the rest."""
        await asyncio.sleep(0.2)  # answers still on their way would only confuse
        try:
            last = (await self._nats.jetstream(timeout=ANSWER_S_MAX).stream_info(self._stream)).state.last_seq
        except (NatsError, APIError, TimeoutError) as error:
            self._failed = str(error) or type(error).__name__
            return
        self._failed = ""
        self._take(last)
        await self._post(list(self._waiting), self.stored)

    def _take(self, stored: int) -> None:
        """Forget what is stored."""
        while self.stored < stored and self._waiting:
            self._bytes -= len(self._waiting.popleft().payload)
            self.stored += 1

    async def _post(self, letters: Sequence[Letter], before: int) -> None:
        parts = []
        for place, letter in enumerate(letters, before):
            lines = [
                f"Nats-Expected-Last-Sequence: {place}",
                *(f"{name}: {text}" for name, text in letter.headers.items()),
            ]
            head = ("NATS/1.0\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()
            size = len(head) + len(letter.payload)
            parts.append(
                f"HPUB {letter.subject} {self._inbox}.{place + 1} {len(head)} {size}\r\n".encode()
                + head + letter.payload + b"\r\n"
            )  # fmt: skip
        try:
            # `publish` for each would cost more than everything else
            await self._nats._send_command(b"".join(parts))
            await self._nats._flush_pending()
        except NatsError as error:
            self._failed = str(error) or type(error).__name__

    async def _on_answer(self, message: Msg) -> None:
        try:
            answer = _answer(message.data)
        except msgspec.DecodeError:
            answer = _Answer(error={"description": "nobody takes it"})
        if answer.error is not None:
            self._failed = str(answer.error.get("description", "refused"))
        else:
            self._take(answer.seq)
        self._heard.set()
