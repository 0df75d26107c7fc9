"""``flowtape decode``: recorded frames to events, offline, with the sessions live connections use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import msgspec

from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas.events import Event, encode


def decode(exchange: str, lines: Iterable[bytes], instruments_body: bytes | None, out: IO[bytes], err: IO[str]) -> int:
    """Events of ``lines`` to ``out``, one JSON object a line; bad lines named on ``err``. Returns the exit code.

    ``instruments_body`` is the venue's own REST body; without it symbols follow the venue's quote list.
    ``received`` equals ``timestamp``, both 0 where the frame has no time.
    """
    declared = load(exchange)
    known = directory(declared, exchange)
    if instruments_body is not None:
        try:
            known.learn(declared.instruments(instruments_body))
        except (msgspec.MsgspecError, ValueError) as error:
            err.write(f"instruments: not what {exchange} sends: {error}\n")
            return 1
    session = declared.session(Setup(exchange, Feeds(known), Options()))
    bad = 0
    for number, line in enumerate(lines, 1):
        raw = line.strip()
        if not raw:
            continue
        try:
            for event in session.parse(raw, 0):
                out.write(encode(_stamped(event)) + b"\n")
        except (FrameError, SubscriptionRejected) as error:
            bad += 1
            err.write(f"line {number}: {error}\n")
    return 1 if bad else 0


def _stamped(event: Event) -> Event:
    event.received = event.timestamp
    return event
