"""Detections for the log, each once: what an earlier run of the engine has published already is left out."""

from __future__ import annotations

import base64

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from schemas import detections
from schemas.detections import Detection
from schemas.names import STREAM_SIGNALS, detection_message_id, signal_subject
from signals._jetstream import StreamAnswer, request
from signals._publish import Letter


class Published:
    """Asks the log for the last detection of a subject, while messages from before the start are read again."""

    def __init__(self, nats: Client, until: int) -> None:
        self._nats = nats
        self._until = until
        """Sequence of the newest message at the start: what a later one showed cannot have been published."""
        self._last: dict[str, int] = {}
        self.again = 0
        """Left out."""

    async def letters(self, seen: list[Detection]) -> list[Letter]:
        """Those to publish, in order. Equal event times are sent again: their ids suppress copies for two minutes."""
        made = []
        for one in seen:
            subject = signal_subject(one.signal, one.exchange, one.symbol, one.interval)
            if one.sequence <= self._until and one.as_of < await self._told(subject):
                self.again += 1
                continue
            mark = detection_message_id(
                one.signal, one.exchange, one.symbol, one.interval, one.timestamp, one.event, one.side, one.price
            )
            made.append(Letter(subject, detections.encode(one), mark))
        return made

    async def _told(self, subject: str) -> int:
        """Event time of the last one on ``subject``; 0 where there is none, or the log does not say."""
        if subject not in self._last:
            try:
                answer = await request(self._nats, f"STREAM.MSG.GET.{STREAM_SIGNALS}", {"last_by_subj": subject})
                self._last[subject] = detections.decode(base64.b64decode(answer["message"]["data"])).as_of
            except (NatsError, StreamAnswer, OSError, TimeoutError, msgspec.DecodeError):
                self._last[subject] = 0
        return self._last[subject]
