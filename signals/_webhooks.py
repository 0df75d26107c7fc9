"""Alerts posted to webhooks: signed, retried, in order, from bounded queues. No secret is ever logged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_exponential

from schemas.alerts import Alert, encode
from schemas.settings import TargetSettings, is_loopback

_log = structlog.get_logger()
WAITING_MAX = 1_000
ATTEMPTS, WAIT_S_MIN, WAIT_S_MAX, TIMEOUT_S = 8, 0.5, 60.0, 10.0
_TEXT_MAX = 1_900
_TELEGRAM = "https://api.telegram.org"
_AGAIN = (408, 425, 429)
SIGNATURE, SIGNED_AT, ALERT_ID = "Flowtape-Signature", "Flowtape-Timestamp", "Flowtape-Id"


class Undelivered(Exception):
    """Not taken this time; may be later. Says why without the address, which may hold a secret."""


class Refused(Exception):
    """Answered with a status that will not change."""


class PublicOnly(AbstractResolver):
    """Names resolve to public addresses, and loopback names to loopback; anything else is as good as unknown."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            address = ipaddress.ip_address(one["host"])
            if not (address.is_loopback if is_loopback(host) else address.is_global):
                raise OSError(None, "resolves to a private address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def request(target: TargetSettings, alert: Alert, now: int) -> tuple[str, bytes, dict[str, str]]:
    """Address, body and headers; ``now`` in µs is part of what ``json`` signs."""
    headers = {"Content-Type": "application/json", ALERT_ID: alert.id}
    if target.kind == "discord":
        mentions: dict[str, Any] = {"parse": []}
        return (
            target.url,
            msgspec.json.encode({"content": alert.text[:_TEXT_MAX], "allowed_mentions": mentions}),
            headers,
        )
    if target.kind == "telegram":
        url = f"{target.url or _TELEGRAM}/bot{target.secret}/sendMessage"
        return url, msgspec.json.encode({"chat_id": target.chat, "text": alert.text[:_TEXT_MAX]}), headers
    body = encode(alert)
    headers |= {SIGNED_AT: str(now), SIGNATURE: signature(target.secret, now, body)}
    return target.url, body, headers


def signature(secret: str, now: int, body: bytes) -> str:
    """``sha256=`` and HMAC-SHA-256 of ``<now>.<body>`` in hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()


class Target:
    """One webhook: what waits for it, and the loop that posts it."""

    def __init__(
        self, name: str, settings: TargetSettings, session: aiohttp.ClientSession, wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self.name, self._settings, self._session = name, settings, session
        self._wall, self._sleep = wall, sleep
        self._waiting: deque[tuple[int, Alert]] = deque()
        self._arrived = asyncio.Event()
        self.sent = self.refused = self.dropped = 0
        self.error = ""

    def put(self, sequence: int, alert: Alert) -> None:
        """Queue an alert; beyond the bound the oldest is dropped, counted."""
        self._waiting.append((sequence, alert))
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._arrived.set()

    @property
    def oldest(self) -> int | None:
        """Stream sequence of the oldest alert that was not dealt with; None where there is none."""
        return self._waiting[0][0] if self._waiting else None

    async def run(self) -> None:
        """Post one after the other until cancelled."""
        while True:
            while self._waiting:
                entry = self._waiting[0]
                await self._deliver(entry[1])
                if self._waiting and self._waiting[0] is entry:  # not dropped meanwhile
                    self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    async def _deliver(self, alert: Alert) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Undelivered), stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(WAIT_S_MIN, WAIT_S_MAX), sleep=self._sleep,
        )  # fmt: skip
        try:
            async for attempt in retrying:
                with attempt:
                    await self._post(alert)
        except RetryError:
            self.dropped += 1
            _log.error("alert_dropped", target=self.name, id=alert.id, reason=self.error)
        except Refused as error:
            self.refused += 1
            self.error = str(error)
            _log.error("alert_refused", target=self.name, id=alert.id, reason=str(error))
        else:
            self.sent += 1
            self.error = ""

    async def _post(self, alert: Alert) -> None:
        """Raises Undelivered, Refused."""
        url, body, headers = request(self._settings, alert, self._wall())
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status, after = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The words of these errors hold the address, and that of Telegram the token.
            self.error = type(error).__name__
            raise Undelivered(self.error) from None
        if status < 300:
            return
        self.error = f"status {status}"
        if status >= 500 or status in _AGAIN:
            if after.isdigit():
                await self._sleep(min(int(after), WAIT_S_MAX))
            raise Undelivered(self.error)
        raise Refused(self.error)


def session() -> aiohttp.ClientSession:
    """A session that reaches public hosts and this machine, and follows no proxy of the environment."""
    connector = aiohttp.TCPConnector(resolver=PublicOnly(), limit=16)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False)
