"""The page's files, from a map made at start: no path of a request ever reaches the file system."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from web import chart_library
from web._errors import ApiError

FOLDER = Path(__file__).resolve().parent / "static"
_TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".json": "application/json",
    ".woff2": "font/woff2", ".mp3": "audio/mpeg", ".wav": "audio/wav",
}  # fmt: skip
_TEXT = ("text/", "application/json", "image/svg")


CHARTS = "/vendor/lightweight-charts.mjs"
"""Where the page expects the chart library, which lies beside the virtual environment."""


class _File(NamedTuple):
    path: Path
    kind: str


def listed() -> dict[str, _File]:
    """Request path → file, for every file of a known kind; ``/`` is ``index.html``."""
    found = {
        f"/{path.relative_to(FOLDER).as_posix()}": _File(path, _TYPES[path.suffix])
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in _TYPES and path.is_file()
    }
    found[CHARTS] = _File(chart_library.path(), _TYPES[".mjs"])
    found["/"] = found["/index.html"]
    return found


def answer(file: _File, request: web.Request) -> web.Response:
    """The file, or 304 where the browser has it. Raises ApiError 404 when it was removed."""
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ApiError(404, "not_found", "no such page") from error
    tag = hashlib.blake2b(content, digest_size=12).hexdigest()
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if any(known.value == tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if file.kind.startswith(_TEXT) else None
    return web.Response(body=content, content_type=file.kind, charset=charset, headers=headers)
