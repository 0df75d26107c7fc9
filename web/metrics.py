"""``/metrics``: every process for Prometheus, from the heartbeats all of them write once a second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from schemas.time import DAY
from web._desk import Desk
from web._endpoint import Route
from web._errors import ApiError
from web._metrics import Families, families

__all__ = ["ROUTES"]


class _Ready(Collector):
    """What was made is what is collected."""

    def __init__(self, made: Families) -> None:
        self._made = made

    def collect(self) -> Iterable[Metric]:
        """Once, for one answer."""
        return self._made.values()


async def completeness(desk: Desk) -> list[tuple[Any, ...]]:
    """Exchange, channel, expected and missing ids of the last day; nothing while QuestDB is away."""
    try:
        return await desk.tables.fetch("web_complete", desk.clock() - DAY)
    except ApiError:
        return []


async def handle(desk: Desk, _request: web.Request) -> web.Response:
    """The present state of everything."""
    made = families(await desk.status(), await completeness(desk), desk.clock())
    registry = CollectorRegistry()
    registry.register(_Ready(made))
    answer = web.Response(body=generate_latest(registry))
    answer.headers["Content-Type"] = CONTENT_TYPE_LATEST
    return answer


ROUTES = (Route("/metrics", "Metrics of every process, for Prometheus", handle),)
