"""How many connections there may be, of one client and of all: counted before a byte of a request is read."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

from web._errors import body

CONNECTIONS_MAX, CONNECTIONS_OF_CLIENT_MAX = 1024, 128
_FULL = "too_many_connections"


class Door:
    """A protocol factory: lets a connection in to ``server``, or answers 429 and closes it."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self._server)


class _Arrival(asyncio.Protocol):
    """A connection whose client is not known yet."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        inside = [_client(handler.transport) for handler in self._server.connections]
        if len(inside) >= CONNECTIONS_MAX or inside.count(_client(transport)) >= CONNECTIONS_OF_CLIENT_MAX:
            transport.write(_refusal())
            transport.close()
            return
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)


def _client(transport: asyncio.BaseTransport | None) -> str:
    """Its address; '' for one that has just gone."""
    name = transport.get_extra_info("peername") if transport is not None else None
    return str(name[0]) if name else ""


def _refusal() -> bytes:
    text = body(_FULL, f"at most {CONNECTIONS_OF_CLIENT_MAX} connections of one client")
    head = f"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    return (head + "Retry-After: 1\r\nConnection: close\r\n\r\n").encode() + text
