"""Revisions of closed candles: the first content of a candle is 0, each different one after it one more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from producers._outbox import Outbox
from schemas.events import Event, Kline

CANDLES_MAX = 50_000
CORRECTED_MAX = 500
"""Corrected candles remembered beyond a restart: an exchange corrects few, and soon."""
_Content = tuple[float, float, float, float, float, float, int | None]
_Key = tuple[str, str, int]
_Known = tuple[_Content, int]
_decode = msgspec.json.Decoder(list[tuple[_Key, _Content, int]]).decode


class Sink(Protocol):
    """Where parsed events and what could not be parsed go."""

    def add(self, event: Event) -> None:
        """Take an event."""

    def dead(self, kind: str, exchange: str, raw: bytes, reason: str, origin: str) -> None:
        """Take what could not become events."""


class Revisions:
    """A sink that numbers corrections and drops a candle that was told already. ``told`` hears of what is passed on."""

    def __init__(self, outbox: Outbox, told: Callable[[Event], None] = lambda _: None) -> None:
        self._outbox, self.told = outbox, told
        self._known: dict[_Key, _Known] = {}
        self._corrected: dict[_Key, _Known] = {}
        self.unsaved = False
        self.dead = outbox.dead

    def add(self, event: Event) -> None:
        """Pass an event on; candles get their revision."""
        if isinstance(event, Kline):
            if not self._number(event):
                return
            self._remember(event)
        self._outbox.add(event)
        self.told(event)

    def add_past(self, events: Sequence[Event]) -> None:
        """Pass on a page of history, oldest first, which nobody waits for; of it the newest candle is remembered."""
        for event in events:
            if not isinstance(event, Kline) or self._number(event):
                self._outbox.add_bulk(event)
        if events and isinstance(events[-1], Kline):
            self._remember(events[-1])

    def _remember(self, candle: Kline) -> None:
        if not candle.revision:
            self._known[_key(candle)] = (_content(candle), 0)
        if len(self._known) > CANDLES_MAX:
            del self._known[next(iter(self._known))]

    def _number(self, candle: Kline) -> bool:
        """Give a candle its revision; whether it is news."""
        key, content = _key(candle), _content(candle)
        known = self._corrected.get(key) or self._known.get(key)
        if known is None:
            return True
        if known[0] == content:
            return False
        candle.revision = known[1] + 1
        self._known.pop(key, None)
        self._corrected.pop(key, None)
        self._corrected[key] = (content, candle.revision)
        if len(self._corrected) > CORRECTED_MAX:
            del self._corrected[next(iter(self._corrected))]
        self.unsaved = True
        return True

    def news(self) -> bytes | None:
        """The corrected candles, for a later life; None where nothing changed since."""
        if not self.unsaved:
            return None
        self.unsaved = False
        return msgspec.json.encode([(key, *known) for key, known in self._corrected.items()])

    def recall(self, saved: bytes) -> None:
        """Take over what an earlier life saved. Raises msgspec.MsgspecError."""
        for key, content, revision in _decode(saved):
            self._corrected.setdefault(key, (content, revision))


def _key(candle: Kline) -> _Key:
    return candle.symbol, candle.interval, candle.timestamp


def _content(candle: Kline) -> _Content:
    return candle.open, candle.high, candle.low, candle.close, candle.volume, candle.value, candle.trades
