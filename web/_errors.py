"""Errors of the API, all in one shape: ``{"error": {"code", "message"}}``."""

from __future__ import annotations

import msgspec
from aiohttp import web


class ApiError(Exception):
    """An answer that is an error: ``status`` for HTTP, ``code`` for programs, ``message`` for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


def body(code: str, message: str, key: str | None = None) -> bytes:
    """The error as JSON; ``key`` is the one of a socket that it is about."""
    about = {} if key is None else {"key": key}
    return msgspec.json.encode({"error": {"code": code, "message": message}, **about})


def response(error: ApiError) -> web.Response:
    """The error as an answer."""
    return web.Response(
        status=error.status, body=body(error.code, error.message), content_type="application/json"
    )  # fmt: skip
