"""Brings the gap stream to the engine. Candles that closed before a gap was known, or was filled, are corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from schemas import time
from schemas.events import Gap
from schemas.names import WORD
from schemas.symbols import is_exchange, is_symbol
from signals._core import Core
from signals._decode import Message
from signals._jetstream import StreamAnswer, facts
from signals._redis import Watermark
from signals._stream import Reader, StreamReplaced

_log = structlog.get_logger()
STREAM = WORD["gap"].stream
CHANNEL = WORD["trade"].channel
BATCH = 1_000
_RETRY_S, _WAIT_S = 2.0, 0.05
_decode = msgspec.json.Decoder(Gap).decode


class GapFeed:
    """Reads when told to, and never waits for a stream that is not there."""

    def __init__(self, nats: Client, core: Core, monotonic: Callable[[], float]) -> None:
        self._nats, self._core, self._monotonic = nats, core, monotonic
        self._reader: Reader | None = None
        self._retry_at = monotonic()
        self.bad = 0
        """Lines that are no gap of their subject."""

    @property
    def lag(self) -> int:
        """Messages of the gap stream not read yet, as last heard; -1 where there is no stream."""
        return self._reader.pending if self._reader is not None else -1

    async def catch_up(self, timeout_s: float) -> None:
        """Read what the stream holds now, so that candles close with what is known."""
        until = self._monotonic() + timeout_s
        while self._monotonic() < until:
            await self.step(_WAIT_S)
            if self._reader is None or self._reader.pending == 0:
                return

    async def step(self, timeout_s: float = 0.0) -> None:
        """Apply what has arrived."""
        if not self._nats.is_connected or (self._reader is None and not await self._begin()):
            return
        assert self._reader is not None
        try:
            messages = await self._reader.take(timeout_s, BATCH)
        except StreamReplaced as replaced:
            _log.error("stream_replaced", stream=STREAM, created=replaced.created)
            await self.close()
            return
        if messages:
            self.apply(messages)

    async def _begin(self) -> bool:
        """Read on after the last message known; from the stream's beginning where it is another stream."""
        if self._monotonic() < self._retry_at:
            return False
        gaps = self._core.state.gaps
        try:
            found = await facts(self._nats, STREAM)
        except (NatsError, StreamAnswer, OSError, TimeoutError) as error:
            _log.info("gaps_away", stream=STREAM, reason=str(error) or type(error).__name__)
            self._retry_at = self._monotonic() + _RETRY_S
            return False
        if gaps.watermark.created != found.created or gaps.watermark.sequence > found.last:
            gaps.watermark = Watermark(max(found.first - 1, 0), found.created)
        self._reader = Reader(self._nats, STREAM, found.created, gaps.watermark.sequence)
        return True

    def apply(self, messages: Sequence[Message]) -> None:
        """Take in the gaps of messages, in order."""
        for message in messages:
            for line in message.payload.split(b"\n"):
                if line.strip():
                    self._take(message.subject, line)
        gaps = self._core.state.gaps
        gaps.watermark = gaps.watermark._replace(sequence=messages[-1].sequence)

    def _take(self, subject: str, line: bytes) -> None:
        _, _, exchange, symbol = (*subject.split(".", 3), "", "", "")[:4]
        try:
            gap = _decode(line)
        except msgspec.DecodeError:
            self.bad += 1
            return
        if (gap.exchange, gap.symbol) != (exchange, symbol) or not (is_exchange(exchange) and is_symbol(symbol)):
            self.bad += 1
        elif gap.channel == CHANNEL:
            if gap.timestamp < time.EARLIEST:
                self.bad += 1
            else:
                self._core.learn(gap)

    async def close(self) -> None:
        """Stop reading."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
