"""What had to be dropped, as ``gap`` events: a hole is never silent."""

from __future__ import annotations

from collections.abc import Callable

from producers._lanes import Message
from schemas import names
from schemas.events import Clock, Event, Gap, Trade, kind


class Overflow:
    """Collects dropped messages; one gap a channel, symbol and cause."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._gaps: dict[tuple[str, str, str], Gap] = {}

    @property
    def waiting(self) -> bool:
        """Whether there are gaps that were not taken yet."""
        return bool(self._gaps)

    def note(self, message: Message, cause: str) -> None:
        """Remember what a dropped message held. Dead letters and clocks leave no hole."""
        first, last = message.first, message.last
        if first is None or last is None or isinstance(first, Clock | Gap) or isinstance(last, Clock):
            return
        channel = names.WORD[kind(first)].channel
        gap = self._gaps.get((channel, first.symbol, cause))
        if gap is None:
            now = self._clock()
            gap = Gap(
                first.exchange, first.symbol, first.timestamp, now, channel, _id(first), _id(last), first.timestamp,
                last.timestamp, cause, "open", 0, 0, "", now,
            )  # fmt: skip
            self._gaps[channel, first.symbol, cause] = gap
        gap.to_id, gap.to_timestamp = _id(last), max(gap.to_timestamp, last.timestamp)
        gap.expected = (gap.expected or 0) + message.count

    def gaps(self) -> list[Gap]:
        """The gaps collected since the last call."""
        gaps, self._gaps = list(self._gaps.values()), {}
        return gaps


def _id(event: Event) -> str | None:
    return event.trade_id if isinstance(event, Trade) else None
