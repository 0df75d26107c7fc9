"""How the disk is shared out: what each stream may hold, and how long that lasts at an assumed rate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from schemas import names
from schemas.settings import Settings
from schemas.time import DAY, SECOND

QUESTDB_SHARE, STREAMS_SHARE = 0.5, 0.4
"""Of the disk budget; the rest is for spools, snapshots and Redis."""
BYTES_MIN = 16 * 1024 * 1024


class _Assumed(NamedTuple):
    """A stream's share of the streams' budget, its default age, and the rate its hours are told for."""

    share: float
    age_days: int
    events_s: float
    event_bytes: int


# ~230 B of JSON and ~140 B of headers and subject count against max_bytes; a book of 20 levels is ~1.4 kB
_ASSUMED = {
    "trades": _Assumed(0.50, 3, 200.0, 370),
    "liquidations": _Assumed(0.05, 7, 2.0, 400),
    "books": _Assumed(0.20, 1, 8.0, 1600),
    "klines": _Assumed(0.05, 7, 0.5, 420),
    "open_interest": _Assumed(0.03, 7, 0.2, 330),
    "funding": _Assumed(0.03, 7, 0.2, 380),
    "gaps": _Assumed(0.04, 30, 0.1, 500),
    "signals": _Assumed(0.07, 7, 0.2, 6000),
    "dead": _Assumed(0.03, 30, 0.1, 600),
}


class Limits(NamedTuple):
    """What a stream may hold. ``derived``: ``max_bytes`` comes from free space, not from the configuration."""

    max_age_s: float
    max_bytes: int
    derived: bool
    events_s: float
    event_bytes: int

    def describe(self) -> str:
        """``at most 3 days and 4.0 GB (15 h at 200 events/s)``."""
        hours = self.max_bytes / (self.events_s * self.event_bytes) / 3600
        age = f"{self.max_age_s / 86_400:g} days and " if self.max_age_s else ""
        return f"at most {age}{self.max_bytes / 1e9:.2f} GB ({hours:,.0f} h at {self.events_s:g} events/s)"


def budget(settings: Settings) -> int:
    """Bytes flowtape may use: ``disk``, else half of what is free where ``data_dir`` lies."""
    if settings.disk is not None:
        return int(settings.disk)
    place = Path(settings.data_dir).absolute()
    while not place.exists():  # ends at the root at the latest
        place = place.parent
    return shutil.disk_usage(place).free // 2


def stream_limits(settings: Settings) -> dict[str, Limits]:
    """Stream → its limits, in the order of ``names.STREAMS``."""
    total = budget(settings) * STREAMS_SHARE
    words = {names.STREAM_SIGNALS: "signals", names.STREAM_DEAD: "dead"}
    words |= {word.stream: word.channel for word in names.WORDS}
    limits = {}
    for stream in names.STREAMS:
        word = words[stream]
        assumed, given = _ASSUMED[word], getattr(settings.streams, word)
        age = assumed.age_days * DAY if given.max_age is None else given.max_age
        size = max(BYTES_MIN, int(total * assumed.share)) if given.max_bytes is None else int(given.max_bytes)
        derived = given.max_bytes is None and settings.disk is None
        limits[stream] = Limits(age / SECOND, size, derived, assumed.events_s, assumed.event_bytes)
    return limits
