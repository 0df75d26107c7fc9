"""``/api/health``: servers, workers, streams, lag, tables; what ``flowtape status --json`` shows."""

from __future__ import annotations

from typing import Any

from web._desk import Desk
from web._endpoint import Endpoint, Query


class Ask(Query, kw_only=True):
    """Nothing to choose."""


async def handle(desk: Desk, _ask: Ask) -> dict[str, Any]:
    """At most STATUS_AGE_S old: many may ask."""
    return await desk.status()


ENDPOINTS = (
    Endpoint("/api/health", "What runs, how much came in, what lags, what is wrong", Ask, dict[str, Any], handle),
)
