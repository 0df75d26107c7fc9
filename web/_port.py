"""Where the page is served: the port is chosen, bound and recorded under ``data_dir``."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import msgspec

from schemas.settings import ConfigError, DefaultPort, Settings

RECORD = "web.json"
BACKLOG = 128


class Served(msgspec.Struct):
    """Where the page is: written to ``<data_dir>/web.json`` once it can be opened."""

    pid: int
    url: str
    port: int


def recorded(data_dir: Path) -> Served | None:
    """What the last web process wrote; None where there was none."""
    try:
        return msgspec.json.decode((data_dir / RECORD).read_bytes(), type=Served)
    except (OSError, msgspec.DecodeError):
        return None


def listening(settings: Settings) -> socket.socket:
    """A socket on ``[web] host`` and ``port``. A default port that is taken moves to where it was before or a free one.

    Raises ConfigError for a port somebody chose and another program has, or a host that is not ours.
    """
    host, port = settings.web.host, settings.web.port
    ports = [int(port)]
    if isinstance(port, DefaultPort):
        before = recorded(Path(settings.data_dir))
        ports = [*([before.port] if before else []), int(port), 0]
    reason = ""
    for choice in ports:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, choice, type=socket.SOCK_STREAM)[0]
            return _bound(family, kind, address)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno != errno.EADDRINUSE:
                raise ConfigError("configuration", "web.host", f"cannot listen on {host}:{choice}: {reason}") from error
    raise ConfigError("configuration", "web.port", f"port {port} is in use by another program; name a free one")


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def record(settings: Settings, port: int) -> Served:
    """Say where it is, now that it can be opened."""
    host = settings.web.host
    shown = f"[{host}]" if ":" in host else host
    served = Served(os.getpid(), f"http://{shown}:{port}", port)
    place = Path(settings.data_dir) / RECORD
    partial = place.with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(served))
    os.replace(partial, place)
    return served
