"""A replay seen as if it were the log: streams, subjects and sequences of live data, read from those of a prefix.

Everything in this folder asks for live names. Handed one of these in place of a connection it works on replayed data
without knowing: so what is computed of a replay is computed by the very same code.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from redis.asyncio import Redis

from schemas.names import (
    HEADER_RECEIVED,
    HEADER_SEQUENCE,
    STREAM_SIGNALS,
    WORDS,
    prefixed,
    prefixed_key,
    replay_signals,
    replay_stream,
    stream_subjects,
    table_durable,
)
from signals._jetstream import API

PLACES_MAX = 40_000
"""Messages of each stream whose places in the replay are remembered: what a reader begins again after is among them."""
CONSUMERS_MAX = 1_000
_STREAMS = frozenset(word.stream for word in WORDS)
_BY = ("next_by_subj", "last_by_subj")


class Prefixed:
    """As much of a NATS connection as signals use; what names no stream or subject passes through."""

    is_replay = True

    def __init__(self, nats: Client, prefix: str) -> None:
        self._nats, self._prefix = nats, prefix
        self._streams = dict.fromkeys(_STREAMS, replay_stream(prefix)) | {STREAM_SIGNALS: replay_signals(prefix)}
        self._of: OrderedDict[str, str] = OrderedDict()
        self._places: dict[str, deque[tuple[int, int]]] = {}
        self.received = 0
        """How far the replay has come: the newest receipt of a message read, µs; 0 before the first."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nats, name)

    async def request(self, subject: str, payload: bytes = b"", **options: Any) -> Msg:
        """A request; one to the JetStream API about a live stream is about the replay."""
        if subject.startswith(f"{API}."):
            subject, payload = self._asked(subject, payload)
        return await self._nats.request(subject, payload, **options)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:  # fmt: skip
        """Publish; signals go out under the prefix."""
        if subject.startswith("sig."):
            subject = prefixed(self._prefix, subject)
        elif subject.startswith(f"{API}."):
            subject, payload = self._asked(subject, payload)
        await self._nats.publish(subject, payload, reply, headers)

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]], **options: Any) -> Subscription:
        """Subscribe to an inbox; messages arrive with the subjects and sequences they had in the log."""

        async def hand_on(message: Msg) -> None:
            if message.reply.startswith("$JS.ACK."):
                self._restore(message)
            await cb(message)

        return await self._nats.subscribe(subject, cb=hand_on, **options)

    def _asked(self, subject: str, payload: bytes) -> tuple[str, bytes]:
        """An API call as the replay's streams understand it."""
        words = subject.split(".")
        place = next((n for n, word in enumerate(words) if word in self._streams), -1)
        if place < 0 or words[-1].startswith(table_durable("")):  # how far a table of live data has come
            return subject, payload
        stream = words[place]
        words[place] = self._streams[stream]
        if payload and words[2] in ("CONSUMER", "STREAM") and "NEXT" not in words:
            payload = json.dumps(self._body(stream, json.loads(payload))).encode()
        return ".".join(words), payload

    def _body(self, stream: str, body: dict[str, Any]) -> dict[str, Any]:
        for name in _BY:
            if name in body:
                body[name] = prefixed(self._prefix, body[name])
        config = body.get("config")
        if config is not None:
            body["stream_name"] = self._streams[stream]
            wanted = config.pop("filter_subjects", None) or filter(None, (config.pop("filter_subject", ""),))
            subjects = [*wanted] or stream_subjects(stream)
            config["filter_subjects"] = [prefixed(self._prefix, name) for name in subjects]
            config.pop("opt_start_time", None)
            start = self._start(stream, config.pop("opt_start_seq", 0))
            config["deliver_policy"] = "by_start_sequence" if start else "all"
            config |= {"opt_start_seq": start} if start else {}
            self._of[config["name"]] = stream
            if len(self._of) > CONSUMERS_MAX:
                self._of.popitem(last=False)
        return body

    def _start(self, stream: str, sequence: int) -> int:
        """Where in the replay the message behind ``sequence - 1`` is; 0, its beginning, where that is not known."""
        return next((place + 1 for own, place in reversed(self._places.get(stream, ())) if own == sequence - 1), 0)

    def _restore(self, message: Msg) -> None:
        """Give a message back the subject and sequence it had."""
        fields = message.reply.split(".")
        at = 5 if len(fields) == 9 else 7
        headers = message.headers or {}
        place, sequence = int(fields[at]), headers.get(HEADER_SEQUENCE, fields[at])
        self.received = max(self.received, int(headers.get(HEADER_RECEIVED, 0)))
        stream = self._of.get(fields[at - 2], "")
        self._places.setdefault(stream, deque(maxlen=PLACES_MAX)).append((int(sequence), place))
        fields[at] = sequence
        message.reply = ".".join(fields)
        message.subject = message.subject.removeprefix(f"{self._prefix}.")


class PrefixedRedis:
    """As much of a Redis client as signals use: they read under the prefix; what they write is ``_redis.Writer``'s."""

    def __init__(self, redis: Redis, key_prefix: str) -> None:
        self._redis, self.key_prefix = redis, key_prefix
        self.connection_pool = redis.connection_pool

    async def mget(self, keys: list[str]) -> Any:
        """Values of ``keys``."""
        return await self._redis.mget([prefixed_key(self.key_prefix, key) for key in keys])

    async def scan_iter(self, match: str, **options: Any) -> AsyncIterator[bytes]:
        """Keys that match, without their prefix."""
        prefix = prefixed_key(self.key_prefix, "").encode()
        async for name in self._redis.scan_iter(prefixed_key(self.key_prefix, match), **options):
            yield name.removeprefix(prefix)

    async def zrange(self, name: bytes | str, *bounds: Any, **options: Any) -> Any:
        """Members of a sorted set."""
        return await self._redis.zrange(self._key(name), *bounds, **options)

    async def zrevrangebyscore(self, name: bytes | str, *bounds: Any, **options: Any) -> Any:
        """Members of a sorted set, from the highest score on."""
        return await self._redis.zrevrangebyscore(self._key(name), *bounds, **options)

    def _key(self, name: bytes | str) -> str:
        return prefixed_key(self.key_prefix, name.decode() if isinstance(name, bytes) else name)
