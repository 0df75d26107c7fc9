"""Which part of each slow series is in the log: what never has to be asked for again, even after a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import structlog
from nats.aio.client import Client

from producers._connection import Surroundings
from producers._kept import Kept
from producers._outbox import Outbox
from producers._revisions import Revisions
from producers._spans import Spans
from schemas import names, time
from schemas.events import Event, Funding, Kline, OpenInterest

STORE_S, LOOK_S, ABSENT_S = 5.0, 0.05, 5.0
SYNC_S = 2.0
"""The log acknowledges before it is on disk, up to a second before: no mark may survive what it vouches for."""
_decode = msgspec.json.Decoder(dict[str, list[tuple[int, int]]]).decode
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


def series(word: str, interval: str = "") -> str:
    """The name of a symbol's series: ``klines.1m``, ``funding``."""
    return f"{word}.{interval}" if interval else word


class Coverage:
    """Spans of time by symbol and series. ``slots``: µs from one event to the next of a channel without intervals.

    ``derived`` says which intervals are made of an interval: when one of its candles is corrected they are due again.
    """

    def __init__(
        self, nats: Client, exchange: str, outbox: Outbox, revisions: Revisions, around: Surroundings, *,
        slots: Mapping[str, int], derived: Mapping[str, Iterable[str]],
    ) -> None:  # fmt: skip
        self._kept = Kept(nats, names.past_prefix(exchange))
        self._exchange, self._outbox, self._revisions, self._around = exchange, outbox, revisions, around
        self._slots, self._derived = slots, derived
        self._symbols: dict[str, dict[str, Spans]] = {}
        self._dirty: set[str] = set()
        self.loaded = False
        """Whether what an earlier life left is known: before, nothing can be called missing."""

    def of(self, symbol: str, name: str) -> Spans:
        """What is there of a series; empty for a new one."""
        return self._symbols.setdefault(symbol, {}).setdefault(name, Spans())

    def done(self, symbol: str, name: str, begin: int, end: int) -> None:
        """A span was read and given to the outbox."""
        if self.of(symbol, name).add(begin, end):
            self._dirty.add(symbol)

    def told(self, event: Event) -> None:
        """An event was given to the outbox, wherever it came from."""
        match event:
            case Kline():
                length = time.duration(event.interval)
                self.done(event.symbol, series("klines", event.interval), event.timestamp, event.timestamp + length)
                for longer in self._derived.get(event.interval, ()) if event.revision else ():
                    slot = time.floor(event.timestamp, time.duration(longer))
                    self.of(event.symbol, series("klines", longer)).remove(slot, slot + time.duration(longer))
            case OpenInterest():
                self._beat("open_interest", event)
            case Funding():
                self._beat("funding", event)

    def _beat(self, word: str, event: OpenInterest | Funding) -> None:
        """One event says that the channel lives: until the next but one is due nothing is missing."""
        begin, slot = event.timestamp, self._slots[word]
        self.done(event.symbol, word, begin - slot, begin + 2 * slot)

    # --- what outlives us --------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Learn what an earlier life left; where that is not possible now it is tried again while running."""
        found = await self._kept.load()
        if found is None:
            return
        for key, value in found.items():
            symbol = key.removeprefix(names.past_prefix(self._exchange) + ".")
            try:
                if symbol == names.REVISED:
                    self._revisions.recall(value)
                    continue
                for name, spans in _decode(value).items():
                    for begin, end in spans:
                        self.of(symbol, name).add(begin, end)
            except msgspec.MsgspecError as error:
                log.error("cursor_unreadable", key=key, error=str(error))
        self.loaded = True

    async def run(self) -> None:
        """Keep the bucket up to date until told to stop."""
        while not self._around.stop.is_set():
            if not self.loaded:
                await self._around.pause(ABSENT_S)
                await self.load()
                continue
            await self._store(wait=True)
            await self._around.pause(STORE_S)

    async def close(self) -> None:
        """Store the last state, once everything was sent or is on disk."""
        if self.loaded:
            await self._store(wait=False)

    async def _store(self, *, wait: bool) -> None:
        symbols, self._dirty = self._dirty, set()
        prefix = names.past_prefix(self._exchange)
        values = {f"{prefix}.{symbol}": self._content(symbol) for symbol in symbols}
        if (corrected := self._revisions.news()) is not None:
            values[f"{prefix}.{names.REVISED}"] = corrected
        if not values:
            return
        stored = self._outbox.fence()
        while wait and not stored() and not self._around.stop.is_set():
            await self._around.pause(LOOK_S)
        if wait:
            await self._around.pause(SYNC_S)
        if (wait and not stored()) or not await self._kept.store(values):
            self._dirty |= symbols
            self._revisions.unsaved = True

    def _content(self, symbol: str) -> bytes:
        return _encode({name: list(spans) for name, spans in self._symbols[symbol].items()})
