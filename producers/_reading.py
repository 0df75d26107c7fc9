"""Reading a range of time of trades over REST, where ids say nothing, and telling what it proves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from producers._exchange import Page, Reach, Request, Row
from producers._pages import agree
from schemas import time
from schemas.events import identity

PAGES_MAX = 50
"""Pages of one reading: what remains is read next, so that memory stays bounded."""
NO_IDS = -1
Ask = Callable[[Request], Awaitable[Page]]


class Span(NamedTuple):
    """All trades of ``start`` to before ``end`` (µs). ``more``: the exchange may serve more beside it."""

    rows: list[Row]
    start: int
    end: int
    more: bool


def reach(start: int, end: int) -> Reach:
    """A range of time that is missing, both ends (µs) included; it names no ids."""
    return Reach(NO_IDS, NO_IDS, start, end)


async def read(ask: Ask, request: Request) -> Span:
    """Page through a range of time. Raises ValueError where pages do not follow each other."""
    page = await ask(request)
    rows, start, end = list(page.rows), page.start, page.end
    for _ in range(PAGES_MAX - 1):
        if page.following is None:
            break
        page = await ask(page.following)
        if page.start != end and page.end != start:
            raise ValueError(f"a page of {page.start} to {page.end} beside one of {start} to {end}")
        rows += page.rows
        start, end = min(start, page.start), max(end, page.end)
    return Span(rows, start, end, page.following is not None)


def same(one: Span, other: Span) -> bool:
    """Whether two readings of a range tell the same trades."""
    ours, theirs = _named(one.rows), _named(other.rows)
    return ours.keys() == theirs.keys() and all(agree(row, theirs[name]) for name, row in ours.items())


def _named(rows: Iterable[Row]) -> dict[object, Row]:
    return {tuple(map(identity, row.events)) or row: row for row in rows}


def beside(whole: Reach, span: Span) -> list[Reach]:
    """What of a range a reading does not cover."""
    left = reach(whole.after, min(span.start - 1, whole.before))
    right = reach(max(span.end, whole.after), whole.before)
    if span.start >= span.end:
        return [whole]
    return [part for part in (left, right) if part.after <= part.before]


def between(rows: Iterable[Row], start: int, end: int) -> int:
    """Trades strictly between two that are known; of those at their very times one each is known."""
    times = [row.timestamp for row in rows for _ in row.events]
    inside = sum(start < at < end for at in times)
    return inside + sum(max(0, times.count(edge) - 1) for edge in {start, end})


def text(reaches: Iterable[Reach]) -> str:
    """``2026-11-22T12:00:00.000000Z to 2026-11-22T12:00:03.000000Z``."""
    return ", ".join(f"{time.iso(part.after)} to {time.iso(part.before)}" for part in reaches)
