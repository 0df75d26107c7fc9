"""Keys of Redis to many sockets: one subscription for all, each change read once, the newest value wins."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from web._cache import sequence_of, timestamp_of

KEY = re.compile(r"[a-z_]{1,32}(:[A-Za-z0-9_-]{1,64}){2,4}")
_CLOSED = ":closed"
_GATHER_S = 0.015
_LIVE_S, _ALL_S = 1.0, 5.0
"""Keys that expire are looked at so often, all of them so often: a lost message costs seconds, not for ever."""
_WAKE = "web:wake"
_log = structlog.get_logger()


def is_key(text: str) -> bool:
    """Whether it has the form of one of our keys with a value; a worker's mark is none."""
    return KEY.fullmatch(text) is not None and not text.startswith("watermark:")


class Watcher:
    """One client: what it still has to be sent, by key (and by candle of a closed set)."""

    def __init__(self) -> None:
        self.pending: dict[tuple[str, int], tuple[int, bytes]] = {}
        self.changed = asyncio.Event()

    def put(self, key: str, part: int, sequence: int, value: bytes) -> None:
        """A newer value takes the place of one not sent yet."""
        self.pending[key, part] = (sequence, value)
        self.changed.set()


class Hub:
    """Follows the keys that somebody watches."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watchers: dict[str, set[Watcher]] = {}
        self._held: dict[str, dict[int, bytes]] = {}
        """By key what was told last: the value under 0, the candles of a closed set under their open times."""
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._pubsub: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def watch(self, watcher: Watcher, key: str, since: int | None) -> None:
        """Tell ``watcher`` the value of ``key`` unless it is the one of ``since``, and every change from now on.

        Raises RedisError or OSError; changes are told all the same once Redis is back.
        """
        async with self._one_at_a_time:
            first = key not in self._watchers
            self._watchers.setdefault(key, set()).add(watcher)
            if first:
                await self._listen_to(key)
                self._held[key] = (await self._read([key]))[key]
        self._tell(watcher, key, since)

    def forget(self, watcher: Watcher, key: str) -> None:
        """Tell it no more."""
        watchers = self._watchers.get(key, set())
        watchers.discard(watcher)
        for pending in [each for each in watcher.pending if each[0] == key]:
            del watcher.pending[pending]
        if not watchers:
            self._watchers.pop(key, None)
            self._held.pop(key, None)

    def _tell(self, watcher: Watcher, key: str, since: int | None) -> None:
        parts = self._held.get(key, {})
        newest = max((sequence_of(value) for value in parts.values()), default=0)
        for part, value in parts.items():
            sequence = sequence_of(value)
            # A log begun anew counts from 1 again: what is newest then lies before since.
            older = key.endswith(_CLOSED) and part != max(parts)
            incomplete = older and b'"complete":false' in value  # a gap changes a candle, not its sequence
            if not (older if since is None else sequence <= since <= newest and not incomplete):
                watcher.put(key, part, sequence, value)
        if not parts and not key.endswith(_CLOSED):
            watcher.put(key, 0, 0, b"null")

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._pump())

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(_WAKE)
                    self._pubsub = pubsub  # from here on a new key subscribes itself
                    if self._watchers:
                        await pubsub.subscribe(*self._watchers)
                    self._dirty.update(self._watchers)
                    self._wake.set()
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if message is not None and (key := message["channel"].decode()) in self._watchers:
                            self._dirty.add(key)
                            self._wake.set()
            except (RedisError, OSError) as error:
                self._pubsub = None
                _log.info("hub_waits", reason=str(error) or type(error).__name__)
                await asyncio.sleep(0.5)

    async def _listen_to(self, key: str) -> None:
        if self._pubsub is not None:
            with contextlib.suppress(RedisError, OSError):  # the listener notices, and subscribes all again
                await self._pubsub.subscribe(key)

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        live_at, all_at = loop.time() + _LIVE_S, loop.time() + _ALL_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(live_at - loop.time(), 0.05))
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            if loop.time() >= live_at:
                live_at = loop.time() + _LIVE_S
                self._dirty.update(key for key in self._watchers if key.startswith("live:"))
            if loop.time() >= all_at:
                all_at = loop.time() + _ALL_S
                await self._unsubscribe_idle()
                self._dirty.update(self._watchers)
            keys, self._dirty = [key for key in self._dirty if key in self._watchers], set()
            if keys:
                await self._spread(keys)

    async def _unsubscribe_idle(self) -> None:
        if self._pubsub is None:
            return
        idle = [
            name for name in self._pubsub.channels if name != _WAKE.encode() and name.decode() not in self._watchers
        ]
        if idle:
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(*idle)

    async def _spread(self, keys: list[str]) -> None:
        try:
            read = await self._read(keys)
        except (RedisError, OSError):
            return  # the listener says so; everything is read again every few seconds
        for key, parts in read.items():
            watchers = self._watchers.get(key)
            if not watchers:
                continue
            before = self._held.get(key, {})
            for part, value in parts.items():
                if before.get(part) != value:
                    for watcher in watchers:
                        watcher.put(key, part, sequence_of(value), value)
            if before and not parts and not key.endswith(_CLOSED):
                for watcher in watchers:
                    watcher.put(key, 0, 0, b"null")
            self._held[key] = parts

    async def _read(self, keys: list[str]) -> dict[str, dict[int, bytes]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                if key.endswith(_CLOSED):
                    pipe.zrange(key, 0, -1)
                else:
                    pipe.get(key)
            answers = await pipe.execute()
        found: dict[str, dict[int, bytes]] = {}
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, list):
                found[key] = {timestamp_of(candle): candle for candle in answer}
            else:
                found[key] = {} if answer is None else {0: answer}
        return found
