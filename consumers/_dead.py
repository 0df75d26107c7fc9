"""Dead letters: what cannot become a row, with its bytes, the reason and where it came from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from nats.js import JetStreamContext

from schemas import names
from schemas.symbols import is_exchange

TOGETHER_MAX = 64
REASON_CHARACTERS_MAX = 300


class Dead(NamedTuple):
    """``origin`` is ``<stream>:<sequence>``, ``mark`` tells the letters of one message apart."""

    kind: str
    exchange: str
    data: bytes
    reason: str
    origin: str
    mark: str


async def send(js: JetStreamContext, letters: Sequence[Dead], payload_max: int) -> None:
    """Publish and wait until the stream has them; sent again, they are not doubled. Raises nats errors."""
    for first in range(0, len(letters), TOGETHER_MAX):
        await asyncio.gather(*(_send(js, letter, payload_max) for letter in letters[first : first + TOGETHER_MAX]))


async def _send(js: JetStreamContext, letter: Dead, payload_max: int) -> None:
    headers = {
        names.HEADER_ID: f"dead:{letter.origin}:{letter.mark}",
        names.HEADER_REASON: _one_line(letter.reason),
        names.HEADER_ORIGIN: letter.origin,
    }
    exchange = letter.exchange if is_exchange(letter.exchange) else "unknown"
    await js.publish(
        names.dead_subject(letter.kind, exchange), letter.data[: payload_max - 4096], headers=headers, timeout=5
    )


def _one_line(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode().split())[:REASON_CHARACTERS_MAX] or "no reason given"
