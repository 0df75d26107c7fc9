"""Randomness as a function of position: any minute of any year costs the same, and every process agrees on it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Hashes: TypeAlias = NDArray[np.uint64]

_MASK = 2**64 - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
OCTAVES = 10
"""Periods of 1, 4, 16 … 4⁹ minutes: from one minute to half a year."""


def key(*parts: object) -> int:
    """64 bits that stand for the parts, the same in every process."""
    return int.from_bytes(blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


def scatter(seed: int, positions: Ints) -> Hashes:
    """64 well-mixed bits for each position (splitmix64)."""
    x = positions.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    return x ^ (x >> np.uint64(31))


def scatter_one(seed: int, position: int) -> int:
    """``scatter`` for one position, without an array."""
    x = (position * _GOLDEN + seed) & _MASK
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return x ^ (x >> 31)


def unit(bits: Hashes) -> Floats:
    """Each hash as a number in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def wander(seed: int, first: int, count: int, step: float) -> Floats:
    """Smooth noise at ``count`` successive positions; an octave four times as long moves twice as far.

    ``step`` is the size of the shortest octave, so the whole stays within ``step * 2**OCTAVES`` of zero.
    """
    total = np.zeros(count)
    positions = np.arange(first, first + count, dtype=np.int64)
    for octave in range(OCTAVES):
        period = 4**octave
        low = first // period
        lattice = np.arange(low, (first + count - 1) // period + 2, dtype=np.int64)
        heights = unit(scatter(seed + octave, lattice)) * 2.0 - 1.0
        cell = positions // period
        part = (positions - cell * period) / period
        part = part * part * (3.0 - 2.0 * part)
        left = heights[cell - low]
        total += step * 2.0**octave * (left + (heights[cell - low + 1] - left) * part)
    return total
