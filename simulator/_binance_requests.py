"""What Binance's REST endpoints share: parameters, error bodies, weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from simulator._venue import Desk, Query, RequestRefused, Route

_WHOLE = re.compile(r"[0-9]{1,20}")
HOUR_MS = 3_600_000


def refuse(code: int, message: str, status: int = 400) -> RequestRefused:
    """Binance's error body."""
    return RequestRefused({"code": code, "msg": message}, status)


def whole(query: Query, name: str, default: int | None = None) -> int | None:
    """A parameter that is a non-negative integer."""
    text = query.get(name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text):
        raise refuse(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def plain_routes(prefix: str) -> dict[str, Route]:
    """``ping`` and ``time``."""

    async def ping(_: Desk, __: Query) -> dict[str, Any]:
        return {}

    async def time(desk: Desk, _: Query) -> dict[str, int]:
        return {"serverTime": desk.now_ms()}

    return {f"{prefix}/ping": Route(ping), f"{prefix}/time": Route(time)}


def depth_weight(*steps: tuple[int, int]) -> Callable[[Query], int]:
    """What a book weighs: (limit up to, weight) in ascending order, the last for all above."""

    def weight(query: Query) -> int:
        limit = int(query["limit"]) if query.get("limit", "").isdecimal() else 100
        return next((weight for most, weight in steps if limit <= most), steps[-1][1])

    return weight


def too_many(status: int, wait_s: int) -> dict[str, Any]:
    """The body of 429 and 418."""
    said = "Way too much request weight used; IP banned" if status == 418 else "Too much request weight used"
    return {"code": -1003, "msg": f"{said}. Please use WebSocket Streams for live updates. Wait {wait_s} s."}
