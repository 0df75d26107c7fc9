"""Reading a range of REST history page by page, and telling what it proves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

from producers._exchange import Reach, Row
from schemas.events import Event

PAGES_MAX = 200
Ask = Callable[[Reach], Awaitable["list[Row]"]]


class Reading(NamedTuple):
    """What the exchange said of a range: its ``rows`` by id, ids it left ``out`` between two others, ids ``unknown``.

    ``edge``: time, µs, of the outermost row on the side where the next range begins.
    """

    rows: dict[int, Row]
    out: set[int]
    unknown: set[int]
    edge: int


async def read(ask: Ask, reach: Reach, *, newest_first: bool) -> Reading:
    """Page through ``reach``. A page proves only what lies between its own first and last id."""
    rows: dict[int, Row] = {}
    unknown: set[int] = set()
    low, high, edge = reach.first, reach.last, reach.before if newest_first else reach.after
    for _ in range(PAGES_MAX):
        page = await ask(Reach(low, high, reach.after, edge) if newest_first else Reach(low, high, edge, reach.before))
        numbers = [row.number for row in page]
        if not numbers or max(numbers) < low or min(numbers) > high:
            break
        rows |= {row.number: row for row in page if low <= row.number <= high}
        if newest_first:
            unknown.update(range(max(numbers) + 1, high + 1))
            high, edge = min(numbers) - 1, min(row.timestamp for row in page)
        else:
            unknown.update(range(low, min(numbers)))
            low, edge = max(numbers) + 1, max(row.timestamp for row in page)
        if low > high:
            break
    unknown.update(range(low, high + 1))
    out = set(range(reach.first, reach.last + 1)) - unknown - rows.keys()
    return Reading(rows, out, unknown, edge)


def agree(one: Row | None, other: Row | None) -> bool:
    """Whether two readings tell the same of an id; when we received it does not count."""
    if one is None or other is None:
        return one is other
    return one.timestamp == other.timestamp and _bare(one.events) == _bare(other.events)


def _bare(events: Iterable[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, received=0) for event in events]


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ids as first and last of each unbroken run."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def text(runs: Iterable[tuple[int, int]]) -> str:
    """``5-7 9``."""
    return " ".join(f"{first}-{last}" if first != last else str(first) for first, last in runs)
