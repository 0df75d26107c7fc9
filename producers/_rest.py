"""REST through one client: within the host's budget, bounded, not fooled by an error that looks like an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from producers._budget import Budget
from producers._exchange import Request, Rest

BODY_BYTES_MAX = 64 << 20
TIMEOUT_S = 20.0
BAN_S_DEFAULT, BAN_S_MAX = 60.0, 3 * 86_400.0
BUDGET_S_MAX = 120.0
BANNED = frozenset((403, 418, 429))
"""Statuses after which nothing is asked of a host for a while."""


class RestError(Exception):
    """A request that brought no answer. ``status`` is 0 where there was none."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(f"{url}: {status or 'no answer'}: {reason}")
        self.url, self.status, self.reason = url, status, reason


class NoBudget(RestError):
    """A request that was not sent: the host will hear nothing from us for longer than anybody should wait."""


class Asking(Protocol):
    """Something that answers requests."""

    async def get(self, request: Request, *, share: float = 1.0) -> bytes:
        """The body of an answer. Raises RestError."""


class RestClient:
    """Requests to one exchange. With ``override`` set no other host is talked to."""

    def __init__(
        self, declared: Rest, override: str, folder: Path, *, clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._declared, self._override, self._folder = declared, override.rstrip("/"), folder
        self._clock, self._sleep = clock, sleep
        self._budgets: dict[str, Budget] = {}
        self._client: aiohttp.ClientSession | None = None
        self.counts = {"requests": 0, "errors": 0, "banned": 0}
        self._clock_offset_ms: int | None = None

    def health(self) -> dict[str, Any]:
        """Counters, the share of the budget used, and how far our clock is ahead of the exchange's (to a second)."""
        used = max((budget.used for budget in self._budgets.values()), default=0.0)
        return self.counts | {"budget_used": round(used, 4), "clock_offset_ms": self._clock_offset_ms}

    async def get(self, request: Request, *, share: float = 1.0) -> bytes:
        """The body of an answer; ``share`` of the budget is what it may use up. Raises RestError."""
        url = redirected(request.url, self._override)
        budget = self._budget(url)
        waited_s = 0.0
        while (wait_s := budget.take(request.weight, share=share)) > 0.0:
            if waited_s + wait_s > BUDGET_S_MAX:
                raise NoBudget(url, 0, f"no budget for {wait_s:.0f} s")
            waited_s += wait_s
            await self._sleep(wait_s)
        self.counts["requests"] += 1
        try:
            return await self._fetch(url, request.body, budget)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.counts["errors"] += 1
            raise RestError(url, 0, f"{type(error).__name__}: {error}") from error
        except RestError:
            self.counts["errors"] += 1
            raise

    async def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()

    async def _fetch(self, url: str, body: bytes, budget: Budget) -> bytes:
        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._client = aiohttp.ClientSession(timeout=timeout, auto_decompress=True)
        method, headers = ("POST", {"Content-Type": "application/json"}) if body else ("GET", {})
        async with self._client.request(
            method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            self._compare(answer.headers.get("Date"))
            parts = bytearray()
            async for part in answer.content.iter_chunked(1 << 16):
                parts += part
                if len(parts) > BODY_BYTES_MAX:
                    raise RestError(url, answer.status, f"more than {BODY_BYTES_MAX} bytes")
            if answer.status in BANNED:
                self.counts["banned"] += 1
                budget.ban(retry_s(answer.headers.get("Retry-After")))
            found = bytes(parts)
            if answer.status != 200:
                raise RestError(url, answer.status, found[:200].decode("utf-8", "replace"))
            if found.lstrip()[:1] not in (b"{", b"["):
                raise RestError(url, answer.status, "not JSON: " + found[:100].decode("utf-8", "replace"))
            try:
                problem = self._declared.problem(found)
            except RecursionError:
                problem = "nested too deeply"
            if problem:
                raise RestError(url, answer.status, problem)
            return found

    def _compare(self, date: str | None) -> None:
        """The header has whole seconds: the exchange's time lies anywhere in that one."""
        try:
            theirs = parsedate_to_datetime(date).timestamp() + 0.5 if date else None
        except ValueError:
            theirs = None
        if theirs is not None:
            self._clock_offset_ms = round(self._clock() / 1000 - theirs * 1000)

    def _budget(self, url: str) -> Budget:
        host = host_of(url, self._override)
        if host not in self._budgets:
            declared = self._declared
            self._budgets[host] = Budget(self._folder, host, declared.weight_max, declared.window_s, self._clock)
        return self._budgets[host]


def redirected(url: str, override: str) -> str:
    """``url`` with its scheme and host replaced by ``override``, the exchange's own path kept."""
    if not override:
        return url
    parts = urlsplit(url)
    return override.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def host_of(url: str, override: str) -> str:
    """Whose budget a request spends. Behind one address may be several exchanges, each under a path of its own."""
    return urlsplit(url).netloc + urlsplit(override).path.rstrip("/")


def retry_s(value: str | None) -> float:
    """Seconds a ``Retry-After`` header asks for, within bounds; a minute where it is missing or unreadable."""
    try:
        return min(BAN_S_MAX, max(1.0, float(value or BAN_S_DEFAULT)))
    except ValueError:
        return BAN_S_DEFAULT
