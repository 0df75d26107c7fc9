"""Calls to the JetStream API, as plain requests."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from nats.aio.client import Client

API = "$JS.API"
_TIMEOUT_S = 5.0


class StreamAnswer(Exception):
    """The server refused: its code and words."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code, self.description = code, description


async def request(nats: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JetStream API call. Raises StreamAnswer, or a nats error when no answer came in 5 s."""
    answer = await nats.request(f"{API}.{subject}", json.dumps(body).encode() if body else b"", timeout=_TIMEOUT_S)
    decoded: dict[str, Any] = json.loads(answer.data)
    if error := decoded.get("error"):
        raise StreamAnswer(error.get("err_code") or error.get("code", 0), error.get("description", ""))
    return decoded


class StreamFacts(NamedTuple):
    """What tells a stream's life: when it was made, and the sequences it holds."""

    created: str
    first: int
    last: int


async def facts(nats: Client, stream: str) -> StreamFacts:
    """Ask for them. Raises StreamAnswer or a nats error."""
    info = await request(nats, f"STREAM.INFO.{stream}")
    return StreamFacts(info["created"], info["state"]["first_seq"], info["state"]["last_seq"])
