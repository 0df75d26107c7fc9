"""The application: routes from the folder's endpoints, and one way in and out for every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from web import _reference, _static
from web._desk import Desk
from web._endpoint import Endpoint, Route, parse
from web._errors import ApiError, response
from web._guard import BODY_BYTES_MAX, Guard, preflight
from web._socket import Sockets

HANDLE_S_MAX = 25.0
PREFIX = "/k/{token}"
"""Before any path, for clients that can send no header."""
_log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def declared(word: str) -> list[Any]:
    """What the files of this folder declare as ``word``: ENDPOINTS or ROUTES."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return [each for name in files for each in getattr(import_module(f"web.{name}"), word, ())]


def application(desk: Desk, guard: Guard, sockets: Sockets) -> web.Application:
    """Everything under one port."""
    app = web.Application(middlewares=[_middleware(guard)], client_max_size=BODY_BYTES_MAX)
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/livez", _livez),
        ("GET", "/readyz", _readyz(desk)),
        ("GET", "/ws", sockets.handle),
    ]
    endpoints, others = declared("ENDPOINTS"), declared("ROUTES")
    routes += [(endpoint.method, endpoint.path, _api(desk, endpoint)) for endpoint in endpoints]
    routes += [("GET", route.path, _other(desk, route)) for route in others]
    document = _reference.openapi(endpoints, others)
    routes += [("GET", path, _fixed(*made)) for path, made in _reference.pages(document).items()]
    routes += [("GET", path, _page(file)) for path, file in _static.listed().items()]
    for method, path, handler in routes:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, PREFIX + path, handler)
    return app


def _middleware(guard: Guard) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            if request.method == hdrs.METH_OPTIONS and guard.allowed(request.headers.get(hdrs.ORIGIN)):
                answer: web.StreamResponse = preflight()
            else:
                answer = await handler(request)
        except ApiError as error:
            answer = response(error)
            if error.status == 429:
                answer.headers["Retry-After"] = "1"
        except web.HTTPException as error:
            answer = response(ApiError(error.status, *_NAMED.get(error.status, ("refused", error.reason))))
            if allow := error.headers.get(hdrs.ALLOW):
                answer.headers[hdrs.ALLOW] = allow
        if not answer.prepared:
            guard.decorate(request, answer)
        return answer

    return middleware


_NAMED = {
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "this path does not take that method"),
    413: ("too_large", f"a body of at most {BODY_BYTES_MAX} bytes"),
}


def _api(desk: Desk, endpoint: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        query = parse(endpoint.query, request.query, list(request.query.keys()))
        try:
            async with asyncio.timeout(HANDLE_S_MAX):
                found = await endpoint.handle(desk, query)
        except TimeoutError as error:
            raise ApiError(504, "timeout", f"not done within {HANDLE_S_MAX:.0f} s; ask for less") from error
        return web.Response(
            body=msgspec.json.encode(found), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    return handle


def _other(desk: Desk, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(HANDLE_S_MAX):
                return await route.handle(desk, request)
        except TimeoutError:
            return route.failed(ApiError(504, "timeout", f"not done within {HANDLE_S_MAX:.0f} s; ask for less"))
        except ApiError as error:
            return route.failed(error)

    return handle


def _fixed(body: bytes, kind: str) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"})

    return handle


def _page(file: _static._File) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return _static.answer(file, request)

    return handle


async def _livez(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _readyz(desk: Desk) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        away = []
        if not desk.nats.is_connected:
            away.append("nats")
        try:
            async with asyncio.timeout(2):
                await desk.cache.value("health:none")
        except (ApiError, TimeoutError):
            away.append("redis")
        if away:
            raise ApiError(503, "not_ready", f"waiting for {', '.join(away)}")
        return web.Response(text="ok\n")

    return handle
