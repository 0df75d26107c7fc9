# mypy: disallow-untyped-decorators=False
"""Numbers as text into a byte buffer, compiled. Each returns the place after what it wrote."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numba import njit

from signals._layout import Bytes

_ZERO, _MINUS, _POINT = np.uint64(48), 45, 46
_TEN = np.uint64(10)
DECIMALS_MAX = 18


@njit(cache=True, nogil=True)
def text(out: Bytes, at: int, words: Bytes) -> int:
    """Copy ``words``."""
    for i in range(len(words)):
        out[at + i] = words[i]
    return at + len(words)


@njit(cache=True, nogil=True, inline="always")
def decimal(out: Bytes, at: int, value: int, places: int) -> int:
    """Write ``value / 10**places`` exactly, in as few digits as it needs: 5, 0.25, 61837.63."""
    if value == 0:
        out[at] = _ZERO
        return at + 1
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    # Unsigned: dividing by a constant ten is then one multiplication.
    rest, left = np.uint64(value), places
    while left > 0:
        tenth = rest // _TEN
        if rest != tenth * _TEN:
            break
        rest = tenth
        left -= 1
    digits, probe = 1, rest
    while probe >= _TEN:
        probe //= _TEN
        digits += 1
    end = at + max(digits, left + 1) + (1 if left else 0)
    place = end - 1
    for _ in range(left):
        tenth = rest // _TEN
        out[place] = _ZERO + (rest - tenth * _TEN)
        rest = tenth
        place -= 1
    if left:
        out[place] = _POINT
        place -= 1
    while place >= at:
        tenth = rest // _TEN
        out[place] = _ZERO + (rest - tenth * _TEN)
        rest = tenth
        place -= 1
    return end


@njit(cache=True, nogil=True)
def integer(out: Bytes, at: int, value: int) -> int:
    """Write a whole number."""
    return int(decimal(out, at, value, 0))


def plain(value: int, places: int) -> bytes:
    """What ``decimal`` writes, for the few numbers Python writes itself."""
    if value == 0:
        return b"0"
    sign, value = (b"-", -value) if value < 0 else (b"", value)
    digits = str(value).rjust(places + 1, "0")
    whole, rest = (digits[:-places], digits[-places:].rstrip("0")) if places else (digits, "")
    return sign + (f"{whole}.{rest}" if rest else whole).encode()


def parts(number: float) -> tuple[int, int]:
    """(n, places) with ``number`` = n / 10**places, exactly as it is written. Raises ValueError beyond 18 places."""
    written = Decimal(repr(number)).normalize()
    exponent = int(written.as_tuple().exponent)
    if exponent >= 0:
        return int(written), 0
    if -exponent > DECIMALS_MAX:
        raise ValueError(f"{number!r} has more than {DECIMALS_MAX} decimals")
    return int(written.scaleb(-exponent)), -exponent
