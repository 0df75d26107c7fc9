"""Ids that did not come, as ``gap`` events."""

from __future__ import annotations

from collections.abc import Container, Iterator

from producers._exchange import Setup
from schemas import time
from schemas.events import Gap

LATE_MAX = time.SECOND
"""Ids may arrive out of order by so much before they count as missing."""


def gaps(setup: Setup, channels: Container[str], now: int) -> Iterator[Gap]:
    """Open gaps for holes that stayed open; each hole is told once. ``now`` may lie before a hole: clocks are set.

    Holes in time are told at once: nothing that comes late closes them, and some exchanges forget within seconds.
    """
    for feed in setup.feeds.all():
        if feed.channel not in channels:
            continue
        while feed.holes and (feed.holes[0].first < 0 or not 0 <= now - feed.holes[0].noticed < LATE_MAX):
            first, last, before, after, noticed, cause = feed.holes.popleft()
            from_id, to_id, expected = (str(first), str(last), last - first + 1) if first >= 0 else (None, None, None)
            yield Gap(
                setup.exchange, feed.symbol, before, noticed, feed.channel, from_id, to_id, before, after,
                cause, "open", expected, 0, "", now,
            )  # fmt: skip
