"""Pages of trades by time: what a page proves, and from where the next one goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from producers._exchange import Page, Request, Row


def forwards(request: Request, rows: Sequence[Row], *, full: bool, following: Callable[[Row], Request]) -> Page:
    """A page that begins at its range's start; ``following`` goes on behind its newest row. ``full``: there is more."""
    newest = max(rows, key=_place, default=None)
    told = _within(request, rows)
    if newest is None or not full or newest.timestamp >= request.end:
        return Page(told, request.start, request.end)
    # Others of the same time may stand on the next page.
    return Page(
        told, request.start, newest.timestamp, _asked(request, following(newest), newest.timestamp, request.end)
    )


def backwards(request: Request, rows: Sequence[Row], *, full: bool, following: Callable[[Row], Request]) -> Page:
    """A page that ends at its range's end or later; ``following`` goes on before its oldest row."""
    oldest = min(rows, key=_place, default=None)
    told = _within(request, rows)
    if oldest is None or not full or oldest.timestamp < request.start:
        return Page(told, request.start, request.end)
    start = min(oldest.timestamp + 1, request.end)
    return Page(told, start, request.end, _asked(request, following(oldest), request.start, start))


def latest(request: Request, rows: Sequence[Row]) -> Page:
    """All that an exchange serves which has no pages: its last trades, of which the oldest may be cut off."""
    oldest = min((row.timestamp for row in rows), default=request.end)
    return Page(_within(request, rows), max(request.start, min(oldest + 1, request.end)), request.end)


def _within(request: Request, rows: Sequence[Row]) -> list[Row]:
    return sorted((row for row in rows if request.start <= row.timestamp < request.end), key=_place)


def _place(row: Row) -> tuple[int, int]:
    return row.timestamp, row.number


def _asked(last: Request, request: Request, start: int, end: int) -> Request:
    return request._replace(symbol=last.symbol, start=start, end=end)
