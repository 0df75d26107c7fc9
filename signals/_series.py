"""What a signal over the slower streams declares: what it reads, what it keeps, which keys come of it.

The machinery (``_feed``) reads, de-duplicates nothing, and flushes; a signal keeps its events in ``Held`` sets and
computes its values from these alone. So its keys are a function of the events, whatever the order between streams,
the batches, copies and restarts.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
from redis.asyncio import Redis

import signals
from schemas import candles, time
from schemas.events import EVENTS, Event, kind
from schemas.names import STREAM_SIGNALS, WORD, key
from schemas.settings import Settings
from schemas.symbols import is_exchange, is_symbol
from signals._publish import Letter
from signals._redis import Member, Value
from signals._tables import Tables

LOOKBACK = 26 * time.HOUR
"""A day, and room for what arrived late."""
_DECODERS: dict[str, Callable[[bytes], Any]] = {kind(event): msgspec.json.Decoder(event).decode for event in EVENTS}


class Source(NamedTuple):
    """Messages a signal reads: ``word`` names them, ``lookback`` (µs) says since when, by arrival, after a start."""

    word: str
    stream: str
    subjects: tuple[str, ...]
    decode: Callable[[bytes], Any]
    lookback: int = LOOKBACK


def events(word: str, lookback: int = LOOKBACK) -> Source:
    """The events of a kind: ``liquidation``, ``open_interest``, …"""
    return Source(word, WORD[word].stream, (f"md.{word}.>",), _DECODERS[word], lookback)


def footprints(intervals: Iterable[str], lookback: int = LOOKBACK) -> Source:
    """Our own closed candles of some intervals."""
    subjects = tuple(f"sig.footprint.*.*.{interval}" for interval in intervals)
    return Source("footprint", STREAM_SIGNALS, subjects, candles.decode, lookback)


def first_wins(event: Event) -> tuple[int, ...]:
    """Rank where the first of a slot wins."""
    return (-event.received,)


def is_named_well(event: Any) -> bool:
    """Whether exchange, symbol and time of an event may become a key."""
    if not (is_exchange(event.exchange) and is_symbol(event.symbol)):
        return False
    # Ahead of our clock by more than a day: not believed, or it would push everything else out.
    latest = getattr(event, "received", event.timestamp) + time.AHEAD_MAX
    return bool(time.EARLIEST <= event.timestamp <= latest)


class Series(ABC):
    """One signal: ``take`` events, tell ``values``. A subclass is the declaration, an instance the state."""

    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dirty: set[tuple[str, ...]] = set()
        """Of what ``render`` writes: (exchange, symbol, …)."""
        self.letters: list[Letter] = []
        """To be published; emptied by the machinery."""

    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """What is read. The first one's sequences are those of the values."""

    @abstractmethod
    def take(self, word: str, event: Any, sequence: int) -> None:
        """One event of a source, or of a table with sequence 0."""

    def take_many(self, word: str, batch: Sequence[tuple[Any, int]]) -> None:
        """Events of a source with their sequences, in order."""
        for event, sequence in batch:
            self.take(word, event, sequence)

    @abstractmethod
    def known(self) -> Iterable[tuple[str, ...]]:
        """Everything ``render`` could write."""

    @abstractmethod
    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        """The keys of one of ``dirty``."""

    async def history(self, tables: Tables, now: int) -> None:
        """Take what the tables hold beyond the look-back; ``now`` in µs. Raises TablesAway."""
        del tables, now  # nothing: the look-back is enough

    async def poll(self, cache: Redis) -> None:
        """Once a second: read what other signals keep in Redis. Raises RedisError, OSError, TimeoutError."""
        del cache  # nothing

    def everything(self) -> None:
        """Write all keys again."""
        self.dirty.update(self.known())

    def counters(self) -> dict[str, int]:
        """For the heartbeat."""
        return {}


def value(name: str, who: tuple[str, ...], body: dict[str, Any], sequence: int, as_of: int) -> Value:
    """``<name>:<exchange>:<symbol>[:more]`` with ``exchange`` and ``symbol`` before the body, its marks after."""
    text = {"exchange": who[0], "symbol": who[1], **body, "sequence": sequence, "as_of": as_of}
    return Value(key(name, *who).encode(), msgspec.json.encode(text), sequence)


def plug_ins() -> dict[str, type[Series]]:
    """Name → signal, from the files of this folder that declare one as ``SERIES``."""
    found = {}
    for module in pkgutil.iter_modules(signals.__path__):
        if not module.name.startswith("_"):
            declared = getattr(importlib.import_module(f"signals.{module.name}"), "SERIES", None)
            if declared is not None:
                found[declared.name] = declared
    return found
