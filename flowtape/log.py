"""Structured logs on stderr: one event per line, for people on a terminal, JSON elsewhere; repeats are limited."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog

REPEAT_S = 10.0
_EVENTS_MAX = 1_000


class Enduring:
    """A stream whose other end may go away (a closed terminal, a pipe, a full disk): what is said then is lost, and
    nothing else is. What runs must not end, or leave its workers behind, because nobody reads any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: closed on our side
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def isatty(self) -> bool:
        return self._stream.isatty()


class Repeats:
    """Drops an event seen again within REPEAT_S for the same worker of the process, and counts what it dropped."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        key = (method, f"{event.get('event')}:{event.get('exchange', '')}:{event.get('reason', '')}"[:200])
        now = self._monotonic()
        last, dropped = self._seen.get(key, (now - 2 * REPEAT_S, 0))
        if now - last < REPEAT_S:
            self._seen[key] = (last, dropped + 1)
            raise structlog.DropEvent
        if len(self._seen) > _EVENTS_MAX:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if dropped:
            event["repeated"] = dropped
        return event


def configure(worker: str, form: str = "auto", *, level: int = logging.INFO) -> None:
    """Log to stderr as ``worker``; ``form`` is ``json``, ``human``, or ``auto``: human on a terminal."""
    human = sys.stderr.isatty() if form == "auto" else form == "human"
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # told by our own error callback, in our own form
    render: Any = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            Repeats(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(Enduring(sys.stderr)),  # type: ignore[arg-type]  # it prints only
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(worker=worker)
