"""What an exchange file declares, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from simulator._market import Listing, Market
from simulator._tape import Minute, Store, Tape

T = TypeVar("T")
Unit = Literal["fill", "aggregate"]


TEXT, BINARY = 1, 2


class Message(NamedTuple):
    """One frame, and the ids of the trades in it (0 where it carries none)."""

    body: bytes
    first_id: int = 0
    last_id: int = 0
    opcode: int = TEXT


class Slice(NamedTuple):
    """The fills ``first`` to before ``last`` of a minute: what became due since the last turn."""

    minute: Minute
    first: int
    last: int


OnTrades: TypeAlias = Callable[[Slice, int], Sequence[Message]]
"""What has become due, now in ms → messages."""
OnSlot: TypeAlias = Callable[[int], Sequence[Message]]
"""The slot's time in ms → messages."""


@dataclass(eq=False)
class Feed:
    """One stream of messages, encoded once for all who subscribe to its ``key``.

    With ``on_trades`` it is called with what has traded; with ``on_slot`` at every ``every_ms`` on the clock.
    ``channel`` and ``symbol`` (the exchange's own) are how faults name it.
    """

    key: str
    channel: str
    symbol: str = ""
    tape: Tape | None = None
    every_ms: int = 0
    since_ms: int = 0
    """Where its first subscriber's messages begin, after a snapshot of that moment; 0: with the subscription."""
    on_trades: OnTrades | None = None
    on_slot: OnSlot | None = None


@dataclass
class Answer:
    """What a client's frame leads to. ``close`` is a WebSocket code after which the connection ends."""

    replies: Sequence[bytes] = ()
    add: Sequence[Feed] = ()
    remove: Sequence[str] = ()
    close: int = 0


class Session:
    """One connection's side of the exchange's protocol; an exchange file derives its own."""

    def opened(self) -> Answer:
        """What happens on connecting, before the client says anything."""
        return Answer()

    def received(self, frame: str) -> Answer:
        """What a text frame of the client leads to."""
        raise NotImplementedError

    def shutdown(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - most exchanges close without a word
        """The exchange's warning before it closes the connection, where it has one."""
        return None

    def stamp(self, body: bytes) -> bytes:
        """The body as this connection gets it; for exchanges that number the messages of a connection."""
        return body


class Reply(NamedTuple):
    """An HTTP answer; ``body`` is JSON already or what becomes it."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = {}

    @property
    def encoded(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


Query: TypeAlias = Mapping[str, str]
BODY = ""
"""The key under which a route finds what was posted."""


class RequestRefused(Exception):
    """Raised by a route: the exchange's own error body and status."""

    def __init__(self, body: Any, status: int = 400) -> None:
        super().__init__(body)
        self.reply = Reply(body, status)


@dataclass(frozen=True)
class Route:
    """A REST endpoint: its handler, and what a request with this query weighs."""

    answer: Callable[[Desk, Query], Awaitable[Any]]
    weight: int | Callable[[Query], int] = 1


@dataclass(frozen=True)
class Limits:
    """What the exchange tolerates. Times in seconds."""

    weight_a_minute: int = 6_000
    weight_header: str = ""
    too_many: Callable[[int, int], Any] | None = None
    """Error body for a status (429, 418) and the seconds to wait."""
    frames_a_second: int = 10
    connections_in_5m: int = 300
    ping_s: float = 20.0
    pong_s_max: float = 60.0


@dataclass(frozen=True)
class Venue:
    """An exchange. ``connect`` gives the session for a WebSocket path (below the exchange's prefix) or None."""

    id: str
    listings: Callable[[Market], Sequence[Listing]]
    connect: Callable[[Desk, str, Query], Session | None]
    routes: Mapping[str, Route]
    unit: Unit = "fill"
    """Which ids its trade history returns."""
    limits: Limits = field(default_factory=Limits)
    missing: Any = None
    """Body of a 404."""


class Desk:
    """One exchange of a running simulator: its tapes, and the time."""

    def __init__(
        self, venue: Venue, market: Market, clock: Callable[[], int], breathe: Callable[[], Awaitable[None]]
    ) -> None:
        self.venue, self.market = venue, market
        self.breathe = breathe
        """Awaited between pieces of long work."""
        self._clock = clock
        self._kept: dict[str, Any] = {}
        store = Store()
        self.tapes = {listing.symbol: Tape(market, listing, store) for listing in venue.listings(market)}

    def remember(self, key: str, make: Callable[[], T]) -> T:
        """What an exchange file keeps for one of its keys, made when first asked for."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._clock() // 1_000

    def find(self, symbol: str) -> Tape | None:
        """The tape of a symbol in the exchange's spelling or ours."""
        found = self.tapes.get(symbol)
        return found or next((tape for tape in self.tapes.values() if tape.listing.canonical == symbol), None)
