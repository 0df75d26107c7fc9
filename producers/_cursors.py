"""What outlives a producer, in the bucket ``cursors``: how far each symbol is complete, and its open gaps.

Keys: ``<exchange>.<symbol>`` holds a mark, ``<exchange>.<symbol>.<from_id>`` a gap that somebody still has to fill,
``<exchange>.<symbol>.t<timestamp>`` one that has no ids, ``<exchange>.<symbol>.lost.<timestamp>`` one that a consumer
found: the log had lost what its table lacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NoKeysError
from nats.js.kv import KeyValue

from producers._feeds import Mark
from schemas.events import Gap
from schemas.names import BUCKET_CURSORS

WATCH_S_MAX = 5.0
TOGETHER_MAX = 100
_UNAVAILABLE = (NatsError, OSError, TimeoutError)
log = structlog.get_logger()


class _Cursor(msgspec.Struct):
    id: int
    timestamp: int
    epoch: int
    updated: int


_cursor = msgspec.json.Decoder(_Cursor).decode
_gap = msgspec.json.Decoder(Gap).decode
_encode = msgspec.json.Encoder().encode


class Cursors:
    """One exchange's part of the bucket."""

    def __init__(self, nats: Client, exchange: str, clock: Callable[[], int]) -> None:
        self._nats, self._exchange, self._clock = nats, exchange, clock
        self._bucket: KeyValue | None = None
        self._stored: dict[str, Mark] = {}
        self.marks: dict[str, Mark] = {}
        """By symbol, as an earlier life left them."""
        self.gaps: list[Gap] = []
        """Those an earlier life left open."""

    async def load(self) -> bool:
        """Read the bucket; False where that is not possible now."""
        return await self._read(">")

    async def look(self) -> list[Gap]:
        """The gaps consumers have put there; none where they cannot be read now."""
        self.gaps = []
        await self._read("*.lost.*")
        found, self.gaps = self.gaps, []
        return found

    async def _read(self, keys: str) -> bool:
        try:
            bucket = await self._nats.jetstream().key_value(BUCKET_CURSORS)
            watcher: Any = await bucket.watch(f"{self._exchange}.{keys}", ignore_deletes=True)
            try:
                while (entry := await watcher.updates(WATCH_S_MAX)) is not None:
                    self._learn(entry.key, entry.value or b"")
            finally:
                await watcher.stop()
        except NoKeysError:
            pass
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", exchange=self._exchange, error=f"{type(error).__name__}: {error}")
            return False
        self._bucket = bucket
        return True

    def _learn(self, key: str, value: bytes) -> None:
        symbol, _, gap = key.removeprefix(f"{self._exchange}.").partition(".")
        try:
            if gap:
                self.gaps.append(_gap(value))
            else:
                cursor = _cursor(value)
                mark = Mark(cursor.id, cursor.timestamp, cursor.epoch)
                self.marks[symbol] = self._stored[symbol] = mark
        except msgspec.MsgspecError as error:
            log.error("cursor_unreadable", key=key, error=str(error))

    async def store(self, gaps: Mapping[str, Gap], marks: Mapping[str, Mark]) -> bool:
        """Write gaps (closed ones are deleted), then the marks that moved: none may pass a gap nobody knows of.

        False where not everything was written.
        """
        if self._bucket is None:
            return False
        bucket, now = self._bucket, self._clock()
        puts = [
            (bucket.put, (key, _encode(gap))) if gap.status == "open" else (bucket.delete, (key,))
            for key, gap in gaps.items()
        ]
        moved = {symbol: mark for symbol, mark in marks.items() if self._stored.get(symbol) != mark}
        cursors = [
            (bucket.put, (f"{self._exchange}.{symbol}", _encode(_Cursor(mark.number, mark.timestamp, mark.epoch, now))))
            for symbol, mark in moved.items()
        ]
        try:
            for calls in (puts, cursors):
                for start in range(0, len(calls), TOGETHER_MAX):
                    await asyncio.gather(*(put(*its) for put, its in calls[start : start + TOGETHER_MAX]))
        except _UNAVAILABLE as error:
            log.warning("cursors_unavailable", exchange=self._exchange, error=f"{type(error).__name__}: {error}")
            return False
        self._stored |= moved
        return True
