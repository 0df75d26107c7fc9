"""Trades of a short range of time over REST, all pages of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from producers._exchange import Page, Recent, Request, Row
from producers._pages import PAGES_MAX
from producers._spans import Spans

LENGTH_US = 300_000_000
"""Short enough for PAGES_MAX pages of a thousand trades, whatever is traded."""


class Slice(NamedTuple):
    """Trades of a range, oldest first. ``begin``: all since then are among them; before, the exchange serves none."""

    rows: list[Row]
    begin: int


class SliceTooLarge(ValueError):
    """More pages than any five minutes of an exchange should have."""


async def read(recent: Recent, native: str, begin: int, end: int, ask: Callable[[Request], Awaitable[Page]]) -> Slice:
    """The trades of ``begin`` to before ``end`` (µs). Raises SliceTooLarge, and what ``ask`` raises."""
    rows: dict[tuple[int, int, str], Row] = {}
    read, request = Spans(), recent.request(native, begin, end)
    for _ in range(PAGES_MAX):
        page = await ask(request)
        rows |= {_key(row): row for row in page.rows}
        read.add(page.start, page.end)
        if page.following is None:
            break
        request = page.following
    else:
        raise SliceTooLarge(f"more than {PAGES_MAX} pages of trades")
    missing = read.missing(begin, end)
    since = missing[0][1] if missing else begin
    return Slice([rows[key] for key in sorted(rows) if rows[key].timestamp >= since], since)


def _key(row: Row) -> tuple[int, int, str]:
    return row.timestamp, row.number, "".join(getattr(event, "trade_id", "") for event in row.events)
