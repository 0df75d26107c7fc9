"""Durations, intervals and timestamps: integer microseconds, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MICROSECOND, MILLISECOND, SECOND = 1, 1_000, 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
WEEK = 7 * DAY
_UNITS = {"us": MICROSECOND, "ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_DURATION = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")

EARLIEST = 1_230_768_000 * SECOND
"""2009-01-01: no exchange traded before it, so an earlier timestamp is impossible."""
AHEAD_MAX = DAY
"""A timestamp further ahead of our clock than this is impossible."""


def duration(text: str) -> int:
    """Microseconds of ``250ms``, ``10s``, ``5m``, ``4h``, ``15d``, ``5w``. Raises ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 250ms, 10s, 5m, 4h, 15d or 5w")
    return int(match[1]) * _UNITS[match[2]]


def micros(value: int) -> int:
    """Microseconds of an exchange's integer time, told apart by magnitude: s, ms, µs or ns."""
    if value >= 10**17:
        return value // 1_000
    if value >= 10**14:
        return value
    if value >= 10**11:
        return value * 1_000
    return value * 1_000_000


def floor(timestamp: int, slot: int) -> int:
    """The start of the slot that holds ``timestamp``. Weeks begin on Monday (the epoch was a Thursday)."""
    if slot % WEEK == 0:
        return (timestamp - 4 * DAY) // slot * slot + 4 * DAY
    return timestamp // slot * slot


def parse(text: str) -> int:
    """Microseconds of an ISO 8601 time (UTC where no offset is given) or of an integer already in µs."""
    if text.isdigit():
        return micros(int(text))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def iso(timestamp: int) -> str:
    """``2026-11-22T00:00:00.000000Z``."""
    seconds, rest = divmod(timestamp, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
