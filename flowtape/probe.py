"""One question to one host, bounded in time, and in plain words what came of it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from producers._budget import Budget
from producers._exchange import Rest, ServerTime
from producers._rest import BANNED, host_of, redirected, retry_s
from schemas.time import MILLISECOND, SECOND

ANSWER_S_MAX = 5.0
BODY_BYTES_MAX = 1 << 20
"""Enough to see whether it is an answer; instrument lists are longer."""
_REFUSED = {
    403: "blocked (403): it refuses this address or country",
    418: "banned (418): too many requests came from this address",
    429: "too many requests (429) came from this address",
    451: "blocked (451): for legal reasons not available in this country",
}


class Found(msgspec.Struct, kw_only=True):
    """What a host said. ``latency_ms`` includes connecting; ``status`` 0: no HTTP answer."""

    url: str
    status: int = 0
    latency_ms: float = 0.0
    blocked: bool = False
    problem: str = ""


class Clock(msgspec.Struct, kw_only=True):
    """How far this machine's clock is ahead of the exchange's, give or take ``resolution_ms``."""

    offset_ms: float
    resolution_ms: float
    source: str


def _now() -> int:
    return time.time_ns() // 1_000


async def rest(declared: Rest, override: str, budgets: Path) -> tuple[Found, Clock | None]:
    """Ask a REST host for its time (or its instruments, where it tells none), within the host's budget."""
    request = declared.time.request if declared.time else declared.instruments[0]
    url = redirected(request.url, override)
    found = Found(url=url)
    budget = Budget(budgets, host_of(url, override), declared.weight_max, declared.window_s, _now)
    while (wait_s := budget.take(request.weight)) > 0.0:
        if wait_s > ANSWER_S_MAX:
            found.problem = f"not asked: it banned this address, or its budget is spent; again in {wait_s:.0f} s"
            return found, None
        await asyncio.sleep(wait_s)
    try:
        await _resolve(url)
        return await _ask(found, request.body, declared, budget)
    except (OSError, aiohttp.ClientError) as error:
        found.problem = words(error)
    return found, None


async def _ask(found: Found, body: bytes, declared: Rest, budget: Budget) -> tuple[Found, Clock | None]:
    headers = {"Content-Type": "application/json"} if body else {}
    async with asyncio.timeout(ANSWER_S_MAX), aiohttp.ClientSession() as client:
        before = _now()
        async with client.request(
            "POST" if body else "GET", found.url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            after = _now()
            found.status, found.latency_ms = answer.status, (after - before) / MILLISECOND
            said = await answer.content.read(BODY_BYTES_MAX)
            if answer.status in BANNED:
                wait_s = retry_s(answer.headers.get("Retry-After"))
                budget.ban(wait_s)
                found.problem, found.blocked = f"{_REFUSED[answer.status]}; again in {wait_s:.0f} s", True
                return found, None
            found.problem, found.blocked = _said(answer.status, said, declared), answer.status in _REFUSED
            if found.problem:
                return found, None
            try:
                return found, _clock(declared.time, said, answer.headers, before, after)
            except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
                found.problem = "its answer has no time in it"
                return found, None


def _said(status: int, body: bytes, declared: Rest) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    if status in _REFUSED:
        return _REFUSED[status]
    if status != 200:
        return f"answered {status}: {text}"
    if body.lstrip()[:1] not in (b"{", b"["):
        return f"a page instead of data: {text}"
    # A list longer than what is read here is an answer; an error body is short.
    return declared.problem(body) or "" if len(body) < BODY_BYTES_MAX else ""


def _clock(
    told: ServerTime | None, body: bytes, headers: Mapping[str, str], before: int, after: int
) -> Clock | None:  # fmt: skip
    """Their time was read between ``before`` and ``after``, and cut to its resolution."""
    if told is not None:
        number: Any = msgspec.json.decode(body)
        for step in told.path:
            number = number[step]
        theirs, resolution = int(float(number) * told.unit), told.unit
        resolution = MILLISECOND if isinstance(number, float) else resolution
    elif "Date" in headers:
        theirs, resolution = int(parsedate_to_datetime(headers["Date"]).timestamp()) * SECOND, SECOND
    else:
        return None
    return Clock(
        offset_ms=((before + after - resolution) / 2 - theirs) / MILLISECOND,
        resolution_ms=(after - before + resolution) / 2 / MILLISECOND,
        source="server time" if told else "Date header",
    )


async def websocket(url: str) -> Found:
    """Whether a socket's handshake is completed."""
    found = Found(url=url)
    try:
        await _resolve(url)
        began = _now()
        async with asyncio.timeout(ANSWER_S_MAX):
            opened = await connect(url, open_timeout=None, close_timeout=0.5, proxy=None, ping_interval=None)
        found.status, found.latency_ms = opened.response.status_code if opened.response else 0, (_now() - began) / 1e3
        await opened.close()
    except InvalidStatus as error:
        found.status = error.response.status_code
        found.problem = _REFUSED.get(found.status, f"answered {found.status} instead of opening a socket")
        found.blocked = found.status in _REFUSED
    except InvalidMessage as error:
        found.problem = f"what answers there does not speak HTTP: {error}"
    except InvalidHandshake as error:
        found.problem = f"the handshake failed: {error}"
    except OSError as error:
        found.problem = words(error)
    return found


async def _resolve(url: str) -> None:
    """Look a name up by itself, so that a dead DNS is not taken for a dead exchange."""
    parts = urlsplit(url)
    looking = asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    try:
        await asyncio.wait_for(looking, ANSWER_S_MAX)
    except TimeoutError as error:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from error


def words(error: BaseException) -> str:
    """What went wrong, told apart: name, route, refusal, TLS, time."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = str(cause)
    match cause:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "DNS does not answer (no network, or no name server)"
        case socket.gaierror():
            return f"DNS does not know the name: {cause.strerror}"
        case ssl.SSLCertVerificationError():
            return f"TLS: its certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {cause.reason or text}"
        case TimeoutError():
            return f"no answer in {ANSWER_S_MAX:g} s"
        case ConnectionResetError() | aiohttp.ServerDisconnectedError():
            return "the connection was cut before an answer"
    if isinstance(cause, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in text:
        return "connection refused: nothing listens there, or a firewall refuses"
    if getattr(cause, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "no route to it"
    return f"{type(cause).__name__}: {text}"[:200]
