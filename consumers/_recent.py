"""What was written lately, in bounded memory: copies are dropped before they rewrite rows and refresh views.

Identities are remembered by a 64-bit hash (200,000 remembered and a billion checked: 1 in 100,000 that one is taken
for another, and then it counts as a conflict). Two generations rotate, so between ``size`` and ``2 * size`` are kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")
SIZE = 100_000


class _Generations(Generic[V]):
    """The values of the last ``size`` to ``2 * size`` identities."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._new: dict[int, V] = {}
        self._old: dict[int, V] = {}

    def get(self, key: int) -> V | None:
        value = self._new.get(key)
        return self._old.get(key) if value is None else value

    def put(self, key: int, value: V) -> None:
        self._new[key] = value
        if len(self._new) >= self._size:
            self._old, self._new = self._new, {}

    def forget(self, identity: Hashable) -> None:
        """As if it had never been seen: its row was not written after all."""
        self._new.pop(hash(identity), None)
        self._old.pop(hash(identity), None)

    def clear(self) -> None:
        """Forget everything: rows are to be written again."""
        self._new, self._old = {}, {}


class Recent(_Generations[int]):
    """First come, first kept: for events that are never corrected."""

    def seen(self, identity: Hashable, content: Hashable) -> bool | None:
        """False for a new identity, True for a copy, None for a copy that says something else."""
        key, mark = hash(identity), hash(content)
        known = self.get(key)
        if known is None:
            self.put(key, mark)
            return False
        return True if known == mark else None


class Revisions(_Generations[tuple[int, ...]]):
    """The newest version of each identity; an older one is never written over it."""

    def newer(self, identity: Hashable, version: tuple[int, ...]) -> bool:
        """Whether ``version`` is newer than any seen; if so it is the newest from now on."""
        key = hash(identity)
        known = self.get(key)
        if known is not None and version <= known:
            return False
        self.put(key, version)
        return True
