# mypy: disallow-untyped-decorators=False
"""Which trades were applied already: an open-addressing table of 64-bit marks, as far back as trades may be late."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from signals._layout import Bytes, Ints

CAPACITY_MIN, CAPACITY_MAX = 1 << 16, 1 << 24
"""Places of 13 bytes; they are filled to three quarters."""
_MIX_1, _MIX_2, _GOLDEN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
_SECOND = 1_000_000
Marks = npt.NDArray[np.uint64]
Seconds = npt.NDArray[np.uint32]


@njit(cache=True, nogil=True)
def _mix(value: np.uint64) -> np.uint64:
    """splitmix64's finaliser: every bit of the input reaches every bit of the mark."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _admit(
    table: Marks, seconds: Seconds, venues: Bytes, identity: Ints, timestamp: Ints, slot: Ints, exchange: Ints,
    salt: Marks, fresh: Bytes, marks: Marks,
) -> int:  # fmt: skip
    """``fresh[i]`` = 1 where trade ``i`` was not in the table, and now is; returns how many were added."""
    mask = np.uint64(len(table) - 1)
    added = 0
    for i in range(len(identity)):
        fresh[i] = 1
        if slot[i] < 0:
            continue
        mark = _mix(np.uint64(identity[i]) ^ _mix(np.uint64(timestamp[i]) + salt[slot[i]]))
        if mark == 0:  # 0 is an empty place
            mark = _GOLDEN
        place = mark & mask
        while table[place] != 0 and table[place] != mark:  # ends: a quarter of the places is empty
            place = (place + np.uint64(1)) & mask
        if table[place] == mark:
            fresh[i] = 0
            continue
        table[place] = mark
        seconds[place] = np.uint32(timestamp[i] // _SECOND)
        venues[place] = np.uint8(exchange[i])
        marks[added] = mark
        added += 1
    return added


@njit(cache=True, nogil=True)
def _refill(table: Marks, seconds: Seconds, venues: Bytes, marks: Marks, whens: Seconds, whose: Bytes) -> None:
    mask = np.uint64(len(table) - 1)
    for i in range(len(marks)):
        place = marks[i] & mask
        while table[place] != 0 and table[place] != marks[i]:
            place = (place + np.uint64(1)) & mask
        table[place], seconds[place], venues[place] = marks[i], whens[i], whose[i]


class Seen:
    """The marks of every trade no older than ``horizon`` (µs) by its exchange's clock, and of some that are."""

    def __init__(self, horizon: int) -> None:
        self._horizon_s = horizon // _SECOND + 2
        self._count = 0
        self._allocate(CAPACITY_MIN)
        self._new: list[tuple[Marks, Seconds, Bytes]] = []
        self.forgotten = 0
        """Marks dropped early because the table had reached its bound."""

    def _allocate(self, capacity: int) -> None:
        self._table = np.zeros(capacity, np.uint64)
        self._seconds = np.zeros(capacity, np.uint32)
        self._venues = np.zeros(capacity, np.uint8)

    def admit(
        self, identity: Ints, timestamp: Ints, slot: Ints, exchange: Ints, salt: Marks, now: Ints
    ) -> npt.NDArray[np.bool_]:
        """Which trades are new; ``now`` is the event time of each exchange, ``salt`` a constant of each slot."""
        if self._count + len(identity) > len(self._table) * 3 // 4:
            self._make_room(len(identity), now)
        fresh, marks = np.empty(len(identity), np.uint8), np.empty(len(identity), np.uint64)
        added = _admit(
            self._table, self._seconds, self._venues, identity, timestamp, slot, exchange, salt, fresh, marks
        )
        self._count += added
        kept = fresh.astype(np.bool_)
        trades = kept & (slot >= 0)
        whens = (timestamp[trades] // _SECOND).astype(np.uint32)
        self._new.append((marks[:added].copy(), whens, exchange[trades].astype(np.uint8)))
        return kept

    def _make_room(self, more: int, now: Ints) -> None:
        """Forget what is too old to be late any more, then grow, or at the bound forget the older half."""
        taken = self._table != 0
        marks, whens, whose = self._table[taken], self._seconds[taken], self._venues[taken]
        young = whens.astype(np.int64) + self._horizon_s >= (now // _SECOND)[whose]
        marks, whens, whose = marks[young], whens[young], whose[young]
        capacity = CAPACITY_MIN
        while capacity < CAPACITY_MAX and len(marks) + more > capacity * 3 // 5:
            capacity *= 2
        if len(marks) + more > capacity * 3 // 4:
            later = np.argsort(whens, kind="stable")[len(marks) // 2 :]
            self.forgotten += len(marks) - len(later)
            marks, whens, whose = marks[later], whens[later], whose[later]
        self._allocate(capacity)
        self._count = len(marks)
        _refill(self._table, self._seconds, self._venues, marks, whens, whose)

    def news(self) -> bytes:
        """The marks added since ``stored`` was called, for a snapshot."""
        if not self._new:
            return b""
        columns = [np.concatenate([part[n] for part in self._new]) for n in range(3)]
        return b"".join(column.tobytes() for column in columns)

    def stored(self) -> None:
        """The snapshot holds the news."""
        self._new.clear()

    def recall(self, news: bytes, now: Ints) -> None:
        """Put back what ``news`` gave."""
        count = len(news) // 13
        marks = np.frombuffer(news, np.uint64, count).copy()
        whens = np.frombuffer(news, np.uint32, count, count * 8).copy()
        whose = np.frombuffer(news, np.uint8, count, count * 12).copy()
        if self._count + count > len(self._table) * 3 // 4:
            self._make_room(count, now)
        _refill(self._table, self._seconds, self._venues, marks, whens, whose)
        self._count += count
