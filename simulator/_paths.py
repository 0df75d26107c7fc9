"""Routes whose path holds names, such as ``/products/{product}/candles``: the names join the query."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any

from simulator._venue import Desk, Query, Route


class Paths(Mapping[str, Route]):
    """By template; looked up by path."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._patterns = [(_pattern(template), route) for template, route in routes.items()]

    def __getitem__(self, path: str) -> Route:
        for pattern, route in self._patterns:
            if match := pattern.fullmatch(path):
                return _bound(route, match.groupdict())
        raise KeyError(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if place % 2 else re.escape(p) for place, p in enumerate(parts)))


def _bound(route: Route, named: Mapping[str, str]) -> Route:
    if not named:
        return route

    def answer(desk: Desk, query: Query) -> Awaitable[Any]:
        return route.answer(desk, {**query, **named})

    return Route(answer, route.weight)
