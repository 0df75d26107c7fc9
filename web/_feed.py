"""Subjects of the log to one socket: from any sequence on, in order, each message once, at the client's own pace."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client

from schemas.names import STREAM_SIGNALS, STREAMS, stream_subjects
from signals._jetstream import StreamAnswer, facts
from signals._stream import Reader, StreamReplaced
from web._errors import ApiError

_SUBJECT = re.compile(r"(md|sig)(\.([A-Za-z0-9_-]{1,64}|\*)){1,6}(\.>)?")
PULL, PULL_BYTES = 500, 1_000_000
"""Messages and bytes that may wait here for a slow client; the rest waits in the log."""
_TAKE_S = 1.0


def is_subject(text: str) -> bool:
    """Whether it is a subject of ours, wildcards allowed."""
    return _SUBJECT.fullmatch(text) is not None and stream_of(text) is not None


def stream_of(subject: str) -> str | None:
    """The stream that holds it; None where that is none or several."""
    if subject.startswith("sig."):
        return STREAM_SIGNALS
    kind = subject.split(".")[1]
    return next((s for s in STREAMS if f"md.{kind}.>" in stream_subjects(s)), None)


async def follow(
    client: Client, subject: str, since: int | None, send: Callable[[int, bytes], Awaitable[None]]
) -> None:
    """Hand every event of ``subject`` after ``since`` (or from now on) to ``send``, until cancelled.

    Raises ApiError 503 where the log cannot be asked.
    """
    stream = stream_of(subject)
    assert stream is not None
    while True:
        try:
            found = await facts(client, stream)
        except (nats.errors.Error, StreamAnswer, OSError) as error:
            raise ApiError(503, "log_away", f"NATS does not answer for {stream}") from error
        after = found.last if since is None else max(since, found.first - 1)
        reader = Reader(
            client, stream, found.created, after if after <= found.last else found.last,
            subjects=[subject], pull=PULL, pull_bytes=PULL_BYTES,
        )  # fmt: skip
        try:
            while True:
                for message in await reader.take(_TAKE_S, 1):
                    for line in message.payload.splitlines():
                        await send(message.sequence, line)
        except StreamReplaced:
            since = 0  # everything of the new one is news
        finally:
            await reader.close()
