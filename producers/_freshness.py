"""Which subscriptions have gone silent: each (channel, symbol) is judged by its own rate, not by its socket's."""

from __future__ import annotations

from typing import Literal

from producers._feeds import Feed

SILENCE_S_MIN = 6.0
"""A busy symbol may be silent for so long; nothing is called stale sooner."""
GAPS = 3.0
"""Silent for so many times the longest gap of late."""
FADE = 0.998
"""How fast a long gap is forgotten, a second."""
FRAMES_MIN = 20
"""Fewer frames say nothing about a symbol's rate."""
BUSY_S_MAX = 60.0
"""A symbol whose bound is below this is busy enough for a reconnect to be worth it."""
PATIENCE_MAX = 64.0

Verdict = Literal["fresh", "resubscribe", "reconnect"]


class Watch:
    """Follows one counter. ``silence_s_max`` is the declared bound; 0: silence is normal."""

    def __init__(self, silence_s_max: float, now: float) -> None:
        self._declared, self._heard, self._since = silence_s_max, now, now
        self._frames = self._first = -1
        self._longest = 0.0
        self._patience = 1.0
        self._asked = False

    @property
    def silence_s_max(self) -> float:
        """Seconds after which this one counts as stale."""
        if self._frames - self._first < FRAMES_MIN:
            return self._declared * self._patience
        return min(self._declared, max(SILENCE_S_MIN, GAPS * self._longest)) * self._patience

    def check(self, frames: int, now: float) -> Verdict:
        """What to do, given the frames counted so far; called about once a second."""
        if self._first < 0:
            self._first = self._frames = frames
        self._longest *= FADE
        if frames != self._frames:
            if self._frames > self._first:
                self._longest = max(self._longest, now - self._heard)
            self._frames, self._heard, self._since = frames, now, now
            self._patience, self._asked = 1.0, False
            return "fresh"
        if not self._declared or now - self._since < self.silence_s_max:
            return "fresh"
        self._since = now
        if self._asked and self.silence_s_max <= BUSY_S_MAX:
            self._asked = False
            return "reconnect"
        # Asking costs little; asking a symbol that has stopped trading every few seconds would not.
        self._patience = min(PATIENCE_MAX, self._patience * (2.0 if self._asked else 1.0))
        self._asked = True
        return "resubscribe"

    def silent_s(self, now: float) -> float:
        """Seconds since something was heard."""
        return now - self._heard


class Freshness:
    """The watches of a connection's feeds, and one over all of them."""

    def __init__(self, feeds: dict[str, tuple[Feed, float]], now: float) -> None:
        self._feeds = feeds
        self._watches = {topic: Watch(silence_s_max, now) for topic, (_, silence_s_max) in feeds.items()}
        bounds = [silence_s_max for _, silence_s_max in feeds.values() if silence_s_max > 0.0]
        self._whole = Watch(min(bounds, default=0.0), now)
        self._start = self._total()

    @property
    def expects(self) -> bool:
        """Whether silence means something here."""
        return any(silence_s_max > 0.0 for _, silence_s_max in self._feeds.values())

    @property
    def heard(self) -> bool:
        """Whether anything came since the connection was opened; acknowledgements do not count."""
        return self._total() > self._start

    def check(self, now: float) -> tuple[list[str], str]:
        """Topics to subscribe again, and why to reconnect (empty: no need)."""
        if self._whole.check(self._total(), now) != "fresh":
            return [], "the whole connection is silent"
        stale = []
        for topic, (feed, _) in self._feeds.items():
            verdict = self._watches[topic].check(feed.frames, now)
            if verdict == "reconnect":
                return [], f"{topic} stays silent"
            if verdict == "resubscribe":
                stale.append(topic)
        return stale, ""

    def _total(self) -> int:
        return sum(feed.frames for feed, _ in self._feeds.values())

    def silent(self, now: float) -> dict[str, float]:
        """Topics silent beyond their bound, with the seconds."""
        return {
            topic: round(watch.silent_s(now), 1)
            for topic, watch in self._watches.items()
            if topic in self._feeds and watch.silence_s_max and watch.silent_s(now) > watch.silence_s_max
        }
