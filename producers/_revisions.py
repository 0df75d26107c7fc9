"""Revisions of closed candles: the first content of a candle is 0, each different one after it one more."""

from __future__ import annotations

from typing import Protocol

from producers._outbox import Outbox
from schemas.events import Event, Kline

CANDLES_MAX = 50_000


class Sink(Protocol):
    """Where parsed events and what could not be parsed go."""

    def add(self, event: Event) -> None:
        """Take an event."""

    def dead(self, kind: str, exchange: str, raw: bytes, reason: str, origin: str) -> None:
        """Take what could not become events."""


class Revisions:
    """A sink that numbers corrections and drops a candle that was told already."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._known: dict[tuple[str, str, int], tuple[tuple[float | int | None, ...], int]] = {}
        self.dead = outbox.dead

    def add(self, event: Event) -> None:
        """Pass an event on; candles get their revision."""
        if isinstance(event, Kline):
            key = (event.symbol, event.interval, event.timestamp)
            content = (event.open, event.high, event.low, event.close, event.volume, event.value, event.trades)
            known = self._known.get(key)
            if known is not None:
                if known[0] == content:
                    return
                event.revision = known[1] + 1
            self._known[key] = (content, event.revision)
            if len(self._known) > CANDLES_MAX:
                del self._known[next(iter(self._known))]
        self._outbox.add(event)
