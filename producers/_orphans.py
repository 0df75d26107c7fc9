"""Open gaps that nobody fills: told of in the log by a producer that died before the bucket ``cursors`` had them.

Such a gap would stay open for ever. Its ids may well be there by then, filled with a larger one, but only what fills a
gap can prove that and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from schemas import names, time
from schemas.events import Gap

ORPHANED_US = time.MINUTE
"""So long without news: whoever told of it has remembered it by then, or is gone. To be wrong costs requests only."""
BACK_MAX = 10_000
"""Messages of the log that are looked at first; of all exchanges together."""
LOOK_MAX = 2_000
"""Messages of an exchange that one look reads, each a question and an answer."""
STREAM = names.WORD["gap"].stream
log = structlog.get_logger()
_decode = msgspec.json.Decoder(Gap).decode
_Key = tuple[str, int, str | None]


class Orphans:
    """Follows the states of one exchange's gaps in ``channel``."""

    def __init__(self, nats: Client, exchange: str, channel: str, clock: Callable[[], int]) -> None:
        self._js, self._exchange, self._channel, self._clock = nats.jetstream(), exchange, channel, clock
        self._next = 0
        self._open: dict[_Key, Gap] = {}

    async def look(self, known: Iterable[Gap]) -> list[Gap]:
        """Gaps that are open for too long and not among the ``known``; each is found once."""
        try:
            await self._read()
        except (NatsError, OSError, TimeoutError) as error:
            log.warning("gaps_unread", exchange=self._exchange, error=f"{type(error).__name__}: {error}")
            return []
        for gap in known:
            self._open.pop(_key(gap), None)
        edge = self._clock() - ORPHANED_US
        found = [gap for gap in self._open.values() if gap.updated < edge]
        for gap in found:
            del self._open[_key(gap)]
        return found

    async def _read(self) -> None:
        """Read on; where the log was replaced, from its beginning."""
        state = (await self._js.stream_info(STREAM)).state
        if not self._next or self._next > state.last_seq + 1:
            self._next = max(state.last_seq - BACK_MAX, state.first_seq, 1)
        for _ in range(LOOK_MAX):
            if self._next > state.last_seq:
                return
            try:
                message = await self._js.get_msg(
                    STREAM, seq=self._next, subject=f"md.gap.{self._exchange}.*", next=True
                )
            except NotFoundError:
                self._next = state.last_seq + 1
                return
            self._next = (message.seq or self._next) + 1
            self._take(message.data or b"")

    def _take(self, payload: bytes) -> None:
        for line in payload.split(b"\n"):
            try:
                gap = _decode(line)
            except msgspec.DecodeError:
                continue  # the table's consumer puts it aside
            if gap.channel != self._channel or gap.exchange != self._exchange:
                continue
            if gap.status == "open":
                self._open[_key(gap)] = gap
            else:
                self._open.pop(_key(gap), None)


def _key(gap: Gap) -> _Key:
    """What the table tells gaps of an exchange's channel apart by."""
    return gap.symbol, gap.timestamp, gap.from_id
