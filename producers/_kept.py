"""Small facts that outlive a producer, in the bucket ``cursors`` under a prefix of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NoKeysError
from nats.js.kv import KeyValue

from schemas.names import BUCKET_CURSORS

WATCH_S_MAX = 5.0
TOGETHER_MAX = 100
_UNAVAILABLE = (NatsError, OSError, TimeoutError)
log = structlog.get_logger()


class Kept:
    """Values by key, all under ``prefix``."""

    def __init__(self, nats: Client, prefix: str) -> None:
        self._nats, self._prefix = nats, prefix
        self._bucket: KeyValue | None = None

    async def load(self) -> dict[str, bytes] | None:
        """Everything an earlier life left; None where that is not possible now."""
        found: dict[str, bytes] = {}
        try:
            bucket = await self._nats.jetstream().key_value(BUCKET_CURSORS)
            watcher: Any = await bucket.watch(f"{self._prefix}.>", ignore_deletes=True)
            try:
                while (entry := await watcher.updates(WATCH_S_MAX)) is not None:
                    found[entry.key] = entry.value or b""
            finally:
                await watcher.stop()
        except NoKeysError:
            pass
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", prefix=self._prefix, error=f"{type(error).__name__}: {error}")
            return None
        self._bucket = bucket
        return found

    async def store(self, values: Mapping[str, bytes]) -> bool:
        """Write; False where not everything was written."""
        if self._bucket is None:
            return False
        items = list(values.items())
        try:
            for start in range(0, len(items), TOGETHER_MAX):
                part = items[start : start + TOGETHER_MAX]
                await asyncio.gather(*(self._bucket.put(key, value) for key, value in part))
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", prefix=self._prefix, error=f"{type(error).__name__}: {error}")
            return False
        return True
