"""Pages of a table: rows of a span in order of time, never cut inside a microsecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from web._desk import Desk, Window

T = TypeVar("T")
MOMENT_ROWS_MAX = 50_000
"""Rows of one microsecond that come in one page, whatever its limit."""


async def page(
    desk: Desk, name: str, of: tuple[str, str], where: Window, limit: int, make: Callable[..., T], *more: Any,
    time_at: int = 2,
) -> tuple[list[T], str | None]:  # fmt: skip
    """Rows of ``web_<name>.sql``, ascending, each made with ``make(*columns)``, and ``next``.

    ``of`` is exchange and symbol, ``more`` what the statement binds beside, ``time_at`` the column of the time.
    """

    async def fetch(begin: int, end: int, count: int) -> list[tuple[Any, ...]]:
        order = "ASC" if where.forward else "DESC"
        return await desk.tables.fetch(f"web_{name}", *of, begin, end, count, *more, order=order)

    rows = await fetch(where.begin, where.end, limit + 1)
    following = None
    if len(rows) > limit:
        edge = rows[limit][time_at]  # the first moment that does not fit whole
        shown = [row for row in rows[:limit] if row[time_at] != edge]
        following = f"from.{edge}" if where.forward else f"to.{edge + 1}"
        if not shown:
            shown = await fetch(edge, edge + 1, MOMENT_ROWS_MAX)
            following = f"from.{edge + 1}" if where.forward else f"to.{edge}"
        rows = shown
    if not where.forward:
        rows.reverse()
    return [make(*row) for row in rows], following
