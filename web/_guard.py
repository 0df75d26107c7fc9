"""Who may ask: Host and Origin, the token, how often and how much. Holds for WebSocket handshakes too."""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from schemas.settings import WebSettings
from web._errors import ApiError

BODY_BYTES_MAX = 64 * 1024
REQUESTS_S, REQUESTS_BURST = 50.0, 300.0
"""Requests a second of one client in the long run, and at once."""
CLIENTS_MAX = 4096
"""Clients remembered for that."""
OPEN_PATHS = ("/livez", "/readyz")
"""They tell nothing but that we run, so probes need no token."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Guard:
    """The rules of ``[web]``. ``check`` raises ApiError for a request that breaks one."""

    def __init__(self, settings: WebSettings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._allowance: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, request: web.Request) -> None:
        """Raises ApiError 403 (Host, Origin), 401 (token), 413 (body) or 429 (too often)."""
        self._often(request.remote or "")
        self._host(request)
        self._origin(request)
        if request.path not in OPEN_PATHS:
            self._token(request)
        if (request.content_length or 0) > BODY_BYTES_MAX:
            raise ApiError(413, "too_large", f"a body of at most {BODY_BYTES_MAX} bytes")

    def allowed(self, origin: str | None) -> bool:
        """Whether a page of that origin may read our answers."""
        return origin is not None and origin in self._settings.allow_origins

    def _host(self, request: web.Request) -> None:
        """A foreign name that resolves to us is DNS rebinding; a plain address cannot be rebound."""
        try:
            name = (urlsplit(f"//{request.headers.get(hdrs.HOST, '')}").hostname or "").rstrip(".")
        except ValueError:
            name = ""
        if name == "localhost" or name in self._settings.allow_hosts or name == self._settings.host:
            return
        try:
            ipaddress.ip_address(name)
        except ValueError as error:
            raise ApiError(403, "host_refused", "this Host is not in [web] allow_hosts") from error

    def _origin(self, request: web.Request) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or origin in self._settings.allow_origins:
            return
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            netloc = ""
        if not netloc or netloc.lower() != request.headers.get(hdrs.HOST, "").lower():
            raise ApiError(403, "origin_refused", "this Origin is not in [web] allow_origins")

    def _token(self, request: web.Request) -> None:
        wanted = self._settings.token
        if not wanted:
            return
        given = request.match_info.get("token") or ""
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer":
            given = bearer.strip()
        if not hmac.compare_digest(given.encode(errors="replace"), wanted.encode()):
            raise ApiError(401, "unauthorized", "send Authorization: Bearer TOKEN, or put /k/TOKEN before the path")

    def _often(self, client: str) -> None:
        now = self._monotonic()
        left, at = self._allowance.pop(client, (REQUESTS_BURST, now))
        left = min(REQUESTS_BURST, left + (now - at) * REQUESTS_S)
        self._allowance[client] = (max(left - 1, 0.0), now)
        if len(self._allowance) > CLIENTS_MAX:
            self._allowance.popitem(last=False)
        if left < 1:
            raise ApiError(429, "too_often", f"at most {REQUESTS_S:.0f} requests a second")

    def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Headers every answer carries."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        origin = request.headers.get(hdrs.ORIGIN)
        if self.allowed(origin):
            response.headers["Access-Control-Allow-Origin"] = str(origin)
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        else:
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers.add("Vary", "Origin")


def preflight() -> web.Response:
    """The answer to a browser that asks whether it may ask."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
        },
    )
