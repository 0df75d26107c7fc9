"""A host's request budget, shared by every process on this machine through one locked file.

Never more than half of what the venue allows is spent, and nothing at all while the venue has banned us.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

SHARE = 0.5


class _State(msgspec.Struct):
    window: int = 0
    used: int = 0
    banned_until: float = 0.0


_decode = msgspec.json.Decoder(_State).decode


class Budget:
    """``weight_max`` per ``window_s`` is the venue's own limit; times are seconds by the wall clock."""

    def __init__(
        self, folder: Path, host: str, weight_max: int, window_s: float, clock: Callable[[], int]
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{re.sub('[^A-Za-z0-9.-]', '_', host)}.json"
        self._weight_max, self._window_s, self._clock = max(1, int(weight_max * SHARE)), window_s, clock
        self.used = 0.0
        """Share of the window's budget that was gone, by all processes, when we last asked."""

    def take(self, weight: int, *, share: float = 1.0) -> float:
        """Spend ``weight``; returns 0, or the seconds after which to ask again.

        Who can wait spends only up to a ``share`` of the window: the rest stays for who cannot.
        """
        now = self._clock() / 1e6
        with self._locked() as state:
            if now < state.banned_until:
                return state.banned_until - now
            window = int(now // self._window_s)
            if window != state.window:
                state.window, state.used = window, 0
            if state.used and state.used + weight > self._weight_max * share:
                return (window + 1) * self._window_s - now
            state.used += weight
            self.used = state.used / self._weight_max
        return 0.0

    def ban(self, seconds: float) -> None:
        """Nobody sends for so long."""
        with self._locked() as state:
            state.banned_until = max(state.banned_until, self._clock() / 1e6 + seconds)

    @contextmanager
    def _locked(self) -> Iterator[_State]:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # held for microseconds
            try:
                state = _decode(os.read(file, 4096))
            except msgspec.MsgspecError:
                state = _State()  # new, or torn by a crash: start with an empty window
            yield state
            os.ftruncate(file, 0)
            os.pwrite(file, msgspec.json.encode(state), 0)
        finally:
            os.close(file)
