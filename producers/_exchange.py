"""What an exchange file declares, and what its sessions offer to the one connection loop.

A file defines ``EXCHANGES``: one ``Exchange`` per id. Nothing else has to be edited to add a venue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from producers._feeds import Directory, Feeds, UnknownSymbol
from schemas import time
from schemas.events import Coverage, Event
from schemas.instruments import Instrument
from schemas.names import CHANNELS
from schemas.symbols import SIMULATED


class FrameError(ValueError):
    """A frame that cannot become events. ``kind`` is the event kind it would have been, ``frame`` if unknown."""

    def __init__(self, reason: str, raw: bytes = b"", kind: str = "frame") -> None:
        super().__init__(reason)
        self.reason, self.raw, self.kind = reason, raw, kind


UNREADABLE = (
    msgspec.MsgspecError, FrameError, UnknownSymbol, LookupError, TypeError, ValueError, ArithmeticError,
    RecursionError,
)  # fmt: skip
"""What parsing a REST answer may raise, whatever is in it."""


class NoProducer(KeyError):
    """An exchange id that no file declares."""


class SubscriptionRejected(Exception):
    """The exchange refused ``topics``. One topic names the culprit; several mean it is among them."""

    def __init__(self, reason: str, topics: Sequence[str], symbol: str = "") -> None:
        super().__init__(f"{reason}: {symbol or ', '.join(topics)}")
        self.reason, self.topics, self.symbol = reason, tuple(topics), symbol


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about shapes. Durations are microseconds."""

    book_depth: int = 20
    book_every: int = 1_000_000
    funding_every: int = 60_000_000
    open_interest_every: int = 60_000_000
    klines_every: int = 10_000_000
    intervals: tuple[str, ...] = ("1m",)
    channels: frozenset[str] = frozenset(CHANNELS)
    """What is asked for: a message that serves several channels yields events of these only."""


class Setup(NamedTuple):
    """What a session is given: its exchange id (``sim_…`` where simulated), memory shared by sessions, shapes."""

    exchange: str
    feeds: Feeds
    options: Options


class Session(Protocol):
    """One per connection. ``parse`` depends only on frames so far, their receive times and the setup; no I/O."""

    replies: deque[bytes]
    """Frames the exchange asked for (answers to its own heartbeats): the loop sends and clears them."""
    latest: int
    """Latest exchange time seen, µs; 0 before the first."""
    ending: str
    """Why the exchange said that it will close, empty as long as it did not."""
    broken: set[str]
    """Topics whose state is lost, such as a book with a hole in its chain: the loop subscribes them anew."""

    def subscribe(self, topics: Sequence[str]) -> bytes:
        """The request for these topics."""

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        """The request to drop these topics."""

    def parse(self, raw: bytes, received: int) -> Sequence[Event]:
        """Events of one frame. Raises FrameError or SubscriptionRejected, nothing else."""


class Topic(NamedTuple):
    """A subscription: its name, and the socket that carries it, as a full URL of the exchange's own."""

    url: str
    name: str


class Request(NamedTuple):
    """A REST request, with the exchange's own full URL and its weight in the host's budget.

    ``symbol`` (the exchange's spelling), ``interval``, and ``start`` to before ``end`` (µs) say what it asks for where
    the answer does not.
    """

    url: str
    weight: int = 1
    symbol: str = ""
    interval: str = ""
    body: bytes = b""
    """JSON to POST; empty: a GET."""
    start: int = 0
    end: int = 0


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """A channel, or knowledge sessions need, that only REST has. ``every_s`` 0 means the channel's configured pace.

    ``requests(natives, setup, now)`` gives what to ask at ``now`` (µs), ``parse(body, request, received, setup)``
    the events of an answer.
    """

    requests: Callable[[Sequence[str], Setup, int], Sequence[Request]]
    parse: Callable[[bytes, Request, int, Setup], Sequence[Event]]
    every_s: float = 0.0


class Reach(NamedTuple):
    """Trades that are missing: dense ids ``first`` to ``last``, and the times, µs, of those known before and after."""

    first: int
    last: int
    after: int
    before: int


class Row(NamedTuple):
    """A trade of REST history: its dense id, its time in µs, and the events it is (none where it met no book)."""

    number: int
    timestamp: int
    events: Sequence[Event]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's trades over REST, in pages without holes of their own.

    ``request`` asks for a page that begins just before ``first`` (``newest_first``: that ends just after ``last``), so
    that what it leaves out between two neighbours is known never to have existed.
    """

    request: Callable[[str, Reach], Request]
    parse: Callable[[bytes, Request, int, Setup], Sequence[Row]]
    newest_first: bool = False
    by_time: bool = False
    """``request`` looks at the time ``after`` only: the ids of a time are known once it was read."""


class Page(NamedTuple):
    """Trades of a range of time: of ``start`` to before ``end`` these ``rows`` and those of the pages before are all.

    ``following`` asks for the next page. None: what no page covers the exchange does not serve.
    """

    rows: Sequence[Row]
    start: int
    end: int
    following: Request | None = None


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's trades over REST by time: where ids are not dense, and before the first id that was heard.

    ``request(native, start, end)`` asks for the first page of ``start`` to before ``end`` (µs), from whichever side the
    exchange serves; ``parse`` reads a page. A row's ``number`` is its dense id, -1 where the exchange has none.
    """

    request: Callable[[str, int, int], Request]
    parse: Callable[[bytes, Request, int, Setup], Page]
    reach_s: float = 0.0
    """How far back the exchange serves, ask for no more; 0: as far as it has any."""
    rows_max: int = 0
    """How many of the last trades the exchange serves, and no others; 0: all."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A slow channel's past over REST: klines, open interest or funding, a page of a symbol at a time.

    ``request(native, interval, start, end, setup)`` asks for the oldest page of ``start`` to before ``end`` (µs);
    ``interval`` is "" where the channel has none. The request says in its ``end`` how far that page goes: there the
    next one begins. ``parse(body, request, received, setup)`` gives the page's events, oldest first; candles only
    closed ones, with ``source`` "rest".
    """

    request: Callable[[str, str, int, int, Setup], Request]
    parse: Callable[[bytes, Request, int, Setup], Sequence[Event]]
    rows_max: int
    reach_s: float = 0.0
    """How far back the exchange serves; 0: as far as it has any."""
    reach_rows: int = 0
    """How many of the latest rows the exchange serves; 0: all."""
    intervals: tuple[str, ...] = ()
    """Lengths of candles the exchange has, shortest first: others are made of these. Empty for other channels."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of an exchange. ``topics`` gives the subscriptions of one symbol, in the exchange's spelling."""

    topics: Callable[[str, Options], Sequence[Topic]] | None = None
    poll: Poll | None = None
    knowledge: Poll | None = None
    """Read beside the channel for facts its frames lack; yields no events."""
    past: Past | None = None
    """Its history; None where the exchange keeps none. Trades have ``Exchange.history`` and ``Exchange.recent``."""
    coverage: Coverage = "all"
    silence_s_max: float = 0.0
    """A symbol silent for longer is resubscribed; busy symbols are judged by their own rate. 0: silence is normal."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange allows, and how much of it is used."""

    topics_per_connection: int = 200
    topics_per_request: int = 50
    requests_per_s: float = 2.0
    together: Callable[[str], str] = lambda _: ""
    """Topics share a request only where this says the same of them: for exchanges that take a channel at a time."""
    connects_per_s: float = 0.5
    lifetime_s: float = 23 * 3600.0
    """A connection is replaced, new one first, before the exchange cuts it."""
    first_s_max: float = 30.0
    """Nothing at all for so long after subscribing: the subscription is dead whatever its acknowledgement said."""
    frame_bytes_max: int = 4 << 20
    ping: bytes = b""
    """A text ping, where the exchange wants one; empty: WebSocket pings."""
    ping_every_s: float = 20.0


class ServerTime(NamedTuple):
    """Where an exchange tells its time: what to ask, the way to the number in the answer, and its unit in µs."""

    request: Request
    path: tuple[str | int, ...]
    unit: int = time.MILLISECOND


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """A REST host's limit, and how its error bodies read (None: not an error)."""

    weight_max: int
    window_s: float = 60.0
    problem: Callable[[bytes], str | None] = lambda _: None
    instruments: tuple[Request, ...] = ()
    following: Callable[[Request, bytes], Request | None] = lambda *_: None
    """The request for the next page of an instrument list, given the last one and its answer."""
    volumes: Request | None = None
    """24 h quote volumes by symbol: the order in which ``["*"]`` picks."""
    time: ServerTime | None = None
    """None: only its HTTP headers tell the time."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange id: everything the loop needs, nothing it has to ask."""

    id: str
    channels: Mapping[str, Channel]
    session: Callable[[Setup], Session]
    rest: Rest
    instruments: Callable[[bytes], Sequence[Instrument]]
    """Instruments of the venue's REST body; ``exchange`` is left empty."""
    named: Callable[[str], Instrument | None]
    """The naming rule: an instrument from the exchange's own spelling alone."""
    spelled: Callable[[str], str | None]
    """The exchange's spelling of a canonical symbol, by rule."""
    volumes: Callable[[bytes], Mapping[str, float]] = lambda _: {}
    limits: Limits = Limits()
    alternates: Mapping[str, Sequence[str]] = {}
    """Other sockets that serve the same, by the beginning of a socket's URL: asked where that one stays silent."""
    history: History | None = None
    """Trades by dense id; None where the venue has none."""
    recent: Recent | None = None
    """Trades by time; None where the venue has none."""


def load(exchange: str) -> Exchange:
    """The declaration behind an exchange id; ``sim_<id>`` shares the code of ``<id>``. Raises NoProducer.

    An id is its file's name, or begins with it and an underscore, so only that file is imported.
    """
    wanted = exchange.removeprefix(SIMULATED)
    files = [name for name in _files() if wanted == name or wanted.startswith(f"{name}_")]
    for name in sorted(files, key=len)[-1:]:
        for found in _declared(name):
            if found.id == wanted:
                return found
    raise NoProducer(exchange)


def every() -> dict[str, Exchange]:
    """Every exchange id with its declaration: the folder's bare file names are the registry."""
    return {exchange.id: exchange for name in _files() for exchange in _declared(name)}


def _files() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def _declared(name: str) -> Sequence[Exchange]:
    declared: Sequence[Exchange] = import_module(f"producers.{name}").EXCHANGES
    return declared


def directory(exchange: Exchange, exchange_id: str) -> Directory:
    """An empty symbol directory that falls back on the exchange's naming rule."""
    return Directory(exchange_id, exchange.named, exchange.spelled)
