"""What outlives a producer, in the bucket ``cursors``: how far each symbol is complete, and its open gaps.

Keys: ``<exchange>.<symbol>`` holds a mark, ``<exchange>.<symbol>.<from_id>`` a gap that somebody still has to fill,
``<exchange>.<symbol>.t<timestamp>`` one that has no ids, ``<exchange>.<symbol>.lost.<timestamp>`` one that a consumer
found: the log had lost what its table lacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import structlog
from nats.aio.client import Client

from producers._feeds import Mark
from producers._kept import Kept
from schemas.events import Gap

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
        self._kept, self._exchange, self._clock = Kept(nats, exchange), exchange, clock
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
        found = await self._kept.load(keys)
        for key, value in (found or {}).items():
            self._learn(key, value)
        return found is not None

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
        moved = {symbol: mark for symbol, mark in marks.items() if self._stored.get(symbol) != mark}
        its = {
            f"{self._exchange}.{symbol}": _encode(_Cursor(mark.number, mark.timestamp, mark.epoch, self._clock()))
            for symbol, mark in moved.items()
        }
        left = {key: _encode(gap) for key, gap in gaps.items() if gap.status == "open"}
        if not (await self._kept.store(left, gaps.keys() - left.keys()) and await self._kept.store(its)):
            return False
        self._stored |= moved
        return True
