"""What the endpoints work with: tables, Redis, instruments, the log; and how a series is cut into pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from nats.aio.client import Client

from schemas import time
from schemas.settings import Settings
from web._cache import Cache
from web._endpoint import Span
from web._errors import ApiError
from web._instruments import Instruments
from web._stored import Renderer
from web._tables import Tables

END = 2**62
"""Later than every time."""


@dataclass(frozen=True)
class Desk:
    """Shared by all requests."""

    settings: Settings
    tables: Tables
    cache: Cache
    instruments: Instruments
    nats: Client
    clock: Callable[[], int]
    """Now, in µs."""
    status: Callable[[], Awaitable[dict[str, Any]]]
    """Everything ``flowtape status`` shows."""
    connect: Callable[[str], Awaitable[Client]]
    """A connection to NATS as another role."""
    renderer: Renderer

    def length(self, interval: str) -> int:
        """µs of one of our intervals. Raises ApiError."""
        known = self.settings.signals.intervals
        if interval not in known:
            raise ApiError(400, "unknown_interval", f"{interval!r}: there are {', '.join(known)}")
        return time.duration(interval)


class Window(NamedTuple):
    """The part of a series one page looks at: [begin, end), read forwards from ``begin`` or back from ``end``."""

    begin: int
    end: int
    forward: bool


def window(span: Span) -> Window:
    """Where a page lies. With ``from`` pages go forward, without they go back from ``to`` or from now."""
    begin, end = span.from_ or 0, END if span.to is None else int(span.to)
    if span.next:
        way, _, at = span.next.partition(".")
        if way not in ("from", "to") or not at.isdecimal() or int(at) > END:
            raise ApiError(400, "invalid_parameter", "next: not what a page before has said")
        return Window(int(at), end, True) if way == "from" else Window(begin, int(at), False)
    if begin > end:
        raise ApiError(400, "invalid_parameter", "from: lies after to")
    return Window(begin, end, span.from_ is not None)
