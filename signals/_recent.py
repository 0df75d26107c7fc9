"""Identities seen lately, by series, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

IDENTITIES_MAX = 50_000
"""Remembered of a series; the oldest arrivals are forgotten."""


class Recent:
    """Which identities were there before."""

    def __init__(self, count_max: int = IDENTITIES_MAX) -> None:
        self._count_max = count_max
        self._seen: dict[Hashable, tuple[set[Hashable], deque[Hashable]]] = {}

    def add(self, series: Hashable, identity: Hashable) -> bool:
        """Remember one; False where it was there."""
        seen, order = self._seen.setdefault(series, (set(), deque()))
        if identity in seen:
            return False
        seen.add(identity)
        order.append(identity)
        if len(order) > self._count_max:
            seen.discard(order.popleft())
        return True
