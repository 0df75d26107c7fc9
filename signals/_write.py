# mypy: disallow-untyped-decorators=False
"""Numbers as text into a byte buffer, compiled. Each returns the place after what it wrote."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numba import njit

from signals._layout import Bytes

_POWERS = np.array([10**n for n in range(19)], np.int64)
_ZERO, _MINUS, _POINT = 48, 45, 46
DECIMALS_MAX = 18


@njit(cache=True, nogil=True)
def text(out: Bytes, at: int, words: Bytes) -> int:
    """Copy ``words``."""
    for i in range(len(words)):
        out[at + i] = words[i]
    return at + len(words)


@njit(cache=True, nogil=True)
def integer(out: Bytes, at: int, value: int) -> int:
    """Write a whole number."""
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    digits = 1
    while digits < 19 and value >= _POWERS[digits]:
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = _ZERO + value % 10
        value //= 10
    return at + digits


@njit(cache=True, nogil=True)
def decimal(out: Bytes, at: int, value: int, places: int) -> int:
    """Write ``value / 10**places`` exactly, in as few digits as it needs: 5, 0.25, 61837.63."""
    if value == 0:
        out[at] = _ZERO
        return at + 1
    while places > 0 and value % 10 == 0:
        value //= 10
        places -= 1
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    if places == 0:
        return integer(out, at, value)
    at = integer(out, at, value // _POWERS[places])
    out[at] = _POINT
    rest = value % _POWERS[places]
    for i in range(places):
        out[at + places - i] = _ZERO + rest % 10
        rest //= 10
    return at + places + 1


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
