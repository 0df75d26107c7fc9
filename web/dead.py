"""``/api/dead``: what could not become a row, with its bytes and the reason; and a second try."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

import msgspec
import nats.errors
from msgspec import Meta
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from schemas.events import Clock, decode_any
from schemas.names import HEADER_ID, HEADER_ORIGIN, HEADER_REASON, STREAM_DEAD, event_subject, payload
from web._desk import Desk
from web._endpoint import Endpoint, Query
from web._errors import ApiError

LOOKED_AT_MAX, TOGETHER = 2_000, 100
SHOWN_BYTES_MAX = 2_000
_SUBJECT = re.compile(r"md\.[a-z_]+(\.[A-Za-z0-9_-]+){2,3}")
_AWAY = (nats.errors.Error, APIError, OSError, TimeoutError)


class Ask(Query, kw_only=True):
    """Newest first."""

    kind: Annotated[str, Meta(description="Only this kind's: `frame`, `trade`, …", max_length=40)] = ""
    exchange: Annotated[str, Meta(description="Only this exchange's", max_length=40)] = ""
    limit: Annotated[int, Meta(ge=1, le=500, description="Most letters of a page")] = 50
    next: Annotated[int, Meta(ge=0, description="As the page before said: goes on from there")] | None = None


class Letter(msgspec.Struct):
    """One dead letter. ``origin`` is a socket, or ``<stream>:<sequence>``; ``data`` is cut after 2000 bytes."""

    sequence: int
    kind: str
    exchange: str
    reason: str
    origin: str
    data: str
    bytes: int


class Answer(msgspec.Struct):
    """Descending by sequence."""

    letters: list[Letter]
    next: int | None


class Which(Query, kw_only=True):
    """One letter."""

    sequence: Annotated[int, Meta(ge=1, description="Of the letter")]


class Requeued(msgspec.Struct):
    """Where its event is now."""

    subject: str
    stream: str
    sequence: int


async def handle(desk: Desk, ask: Ask) -> Answer:
    """Read back from the newest letter, as far as LOOKED_AT_MAX for one page."""
    context = desk.nats.jetstream(timeout=5)
    try:
        state = (await context.stream_info(STREAM_DEAD)).state
        at = state.last_seq if ask.next is None else min(ask.next, state.last_seq)
        found: list[Letter] = []
        lowest = max(state.first_seq, at - LOOKED_AT_MAX)
        while at >= max(lowest, 1) and len(found) < ask.limit:
            some = range(at, max(lowest - 1, at - TOGETHER, 0), -1)
            letters = await asyncio.gather(*(_get(desk, sequence) for sequence in some))
            for letter in letters:
                at = at - 1 if letter is None else letter.sequence - 1
                if letter is not None and _wanted(letter, ask):
                    found.append(letter)
                    if len(found) == ask.limit:
                        break
    except _AWAY as error:
        raise ApiError(503, "log_away", f"NATS does not answer for {STREAM_DEAD}") from error
    return Answer(found, at if at >= max(state.first_seq, 1) else None)


def _wanted(letter: Letter, ask: Ask) -> bool:
    return ask.kind in ("", letter.kind) and ask.exchange in ("", letter.exchange)


async def _get(desk: Desk, sequence: int) -> Letter | None:
    message = await _message(desk, sequence)
    if message is None:
        return None
    _, _, kind, exchange = (message.subject or "md.dead..").split(".", 3)
    headers, data = message.headers or {}, message.data or b""
    return Letter(
        sequence, kind, exchange, headers.get(HEADER_REASON, ""), headers.get(HEADER_ORIGIN, ""),
        data[:SHOWN_BYTES_MAX].decode(errors="replace"), len(data),
    )  # fmt: skip


async def _message(desk: Desk, sequence: int) -> RawStreamMsg | None:
    try:
        return await desk.nats.jetstream(timeout=5).get_msg(STREAM_DEAD, sequence, direct=True)
    except NotFoundError:
        return None


async def requeue(desk: Desk, which: Which) -> Requeued:
    """Put the event of a letter into the log again, as a producer would, and take the letter away."""
    try:
        message = await _message(desk, which.sequence)
    except _AWAY as error:
        raise ApiError(503, "log_away", f"NATS does not answer for {STREAM_DEAD}") from error
    if message is None:
        raise ApiError(404, "not_found", f"no letter {which.sequence}")
    try:
        event = decode_any(message.data or b"")
    except msgspec.DecodeError as error:
        raise ApiError(409, "cannot_requeue", f"not an event: {error}") from error
    if isinstance(event, Clock):
        raise ApiError(409, "cannot_requeue", "a clock event is of its moment")
    where = event_subject(event)
    if _SUBJECT.fullmatch(where) is None:
        raise ApiError(409, "cannot_requeue", "its exchange, symbol or interval cannot become a subject")
    try:
        producer = await desk.connect("producer")
        try:
            # An id of its own: within two minutes the event's own would be taken for a copy.
            headers = {HEADER_ID: f"requeue:{which.sequence}:{event.received}"}
            answer = await producer.jetstream(timeout=5).publish(where, payload([event]), headers=headers)
        finally:
            await producer.close()
        admin = await desk.connect("admin")
        try:
            await admin.jetstream(timeout=5).delete_msg(STREAM_DEAD, which.sequence)
        finally:
            await admin.close()
    except _AWAY as error:
        raise ApiError(503, "log_away", f"not requeued: {error or type(error).__name__}") from error
    return Requeued(where, answer.stream, answer.seq)


ENDPOINTS = (
    Endpoint("/api/dead", "Dead letters, newest first", Ask, Answer, handle),
    Endpoint("/api/dead/requeue", "Put a dead letter's event into the log again", Which, Requeued, requeue, "POST"),
)
