"""Events of a subject from the log, decoded, each once: what programs of the user's read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from consumers._recent import Recent, Revisions
from schemas import candles, events, names
from schemas.events import Event, Gap, Kline


class Once:
    """Decodes messages and leaves out what came before: the same event from a second producer, or sent again."""

    def __init__(self) -> None:
        self._seen, self._revised = Recent(), Revisions()

    def of(self, subject: str, data: bytes) -> Iterator[Any]:
        """The events of a message that are new. What does not decode is left out: the tables' consumers tell of it."""
        if not subject.startswith("md."):
            yield _SIGNAL.get(subject.split(".")[1], msgspec.json.decode)(data)
            return
        for line in data.split(b"\n"):
            try:
                event = events.decode_any(line)
            except msgspec.DecodeError:
                continue
            if self._is_new(event):
                yield event

    def _is_new(self, event: Event) -> bool:
        who = events.identity(event)
        if isinstance(event, Kline | Gap):
            second = event.updated if isinstance(event, Gap) else event.received
            return self._revised.newer(who, (event.revision, second))
        return self._seen.seen(who, 0) is False


_SIGNAL: dict[str, Callable[[bytes], Any]] = {"footprint": candles.decode}


def streams(subject: str, prefix: str = "") -> list[str]:
    """The streams that may hold a subject. Raises ValueError where none can."""
    first, _, rest = subject.partition(".")
    word = names.WORD.get(rest.split(".")[0])
    signals = names.replay_signals(prefix) if prefix else names.STREAM_SIGNALS
    found = [signals] if first in ("sig", "*", ">") else []
    if first in ("md", "*", ">"):
        live = [word.stream] if word else [each.stream for each in names.WORDS]
        found += [names.replay_stream(prefix)] if prefix else live
    if not found:
        raise ValueError(f"{subject!r}: events are on md.…, signals on sig.…")
    return found
