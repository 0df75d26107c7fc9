"""What outlives a producer, in the bucket ``cursors`` under a prefix of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from schemas.bucket import read
from schemas.names import BUCKET_CURSORS

TOGETHER_MAX = 100
_UNAVAILABLE = (NatsError, OSError, TimeoutError)
log = structlog.get_logger()


class Kept:
    """Values by key, all under ``prefix``."""

    def __init__(self, nats: Client, prefix: str) -> None:
        self._nats, self._prefix = nats, prefix
        self._bucket: KeyValue | None = None

    async def load(self, keys: str = ">") -> dict[str, bytes] | None:
        """What an earlier life, or somebody else, left under ``keys``; None where that is not possible now."""
        try:
            bucket = await self._nats.jetstream().key_value(BUCKET_CURSORS)
            found = await read(self._nats, BUCKET_CURSORS, f"{self._prefix}.{keys}")
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", prefix=self._prefix, error=f"{type(error).__name__}: {error}")
            return None
        self._bucket = bucket
        return {entry.key: entry.value for entry in found}

    async def store(self, values: Mapping[str, bytes], gone: Collection[str] = ()) -> bool:
        """Write these, and delete those that are ``gone``; False where not everything was."""
        if self._bucket is None:
            return False
        calls: list[tuple[Callable[..., Coroutine[Any, Any, object]], tuple[Any, ...]]]
        calls = [(self._bucket.put, its) for its in values.items()]
        calls += [(self._bucket.delete, (key,)) for key in gone]
        try:
            for start in range(0, len(calls), TOGETHER_MAX):
                await asyncio.gather(*(call(*its) for call, its in calls[start : start + TOGETHER_MAX]))
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", prefix=self._prefix, error=f"{type(error).__name__}: {error}")
            return False
        return True
