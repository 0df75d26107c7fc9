"""``liquidation_levels:<x>``: estimated prices of liquidation. A model, off by default: ``[signals.levels]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas import time
from schemas.events import OpenInterest
from schemas.settings import ConfigError, Settings
from signals._held import Held
from signals._liquidation_model import Span, levels, told
from signals._redis import Member, Value
from signals._series import Series, Source, events, first_wins, footprints, value
from signals._tables import Tables


class _Minute(NamedTuple):
    timestamp: int
    low: float
    high: float
    volume: float
    value: float


class LiquidationLevels(Series):
    """Open interest by bar, and the closed minutes of the window."""

    name = "liquidation_levels"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        config = settings.signals.levels
        self._length, self._window = int(settings.signals.open_interest), int(config.window)
        self._maintenance, self._enabled = config.maintenance, config.enabled
        if len(config.tiers) != len(config.weights) or not config.tiers or min(config.weights) < 0:
            raise ConfigError("settings", "signals.levels.weights", "one for each of tiers is needed, none below 0")
        if min(config.tiers) <= 1 or sum(config.weights) <= 0:
            raise ConfigError("settings", "signals.levels.tiers", "leverage above 1 and weights above 0 are needed")
        whole = sum(config.weights)
        self._tiers = {tier: weight / whole for tier, weight in zip(config.tiers, config.weights, strict=True)}
        self._samples: dict[tuple[str, str], Held[OpenInterest]] = {}
        self._minutes: dict[tuple[str, str], Held[_Minute]] = {}

    def sources(self) -> tuple[Source, ...]:
        return (events("open_interest"), footprints(["1m"])) if self._enabled else ()

    def take(self, word: str, event: Any, sequence: int) -> None:
        who = event.exchange, event.symbol
        if word == "open_interest":
            held = self._samples.setdefault(who, Held(self._window, self._window // self._length))
            slot = event.timestamp - event.timestamp % self._length
            if event.open_interest > 0 and held.put(slot, 0, (event.timestamp, *first_wins(event)), event, sequence):
                self.dirty.add(who)
            return
        volume, worth = event.buy + event.sell, event.buy_value + event.sell_value
        minute = _Minute(event.timestamp, event.low, event.high, volume, worth)
        self._put(who, minute, (event.revision, event.gaps_as_of), sequence)

    def _put(self, who: tuple[str, str], minute: _Minute, rank: tuple[int, ...], sequence: int) -> None:
        held = self._minutes.setdefault(who, Held(self._window, self._window // time.MINUTE))
        if held.put(minute.timestamp, 0, rank, minute, sequence) and who in self._samples:
            self.dirty.add(who)

    def known(self) -> Iterable[tuple[str, ...]]:
        return list(self._samples)

    async def history(self, tables: Tables, now: int) -> None:
        begin = now - self._window
        for exchange, symbol, stamp, interest, worth in await tables.fetch("signal_open_interest", begin):
            self.take("open_interest", OpenInterest(exchange, symbol, stamp, stamp, interest, worth), 0)
        for exchange, symbol, *minute in await tables.fetch("signal_minutes", begin):
            self._put((exchange, symbol), _Minute(*minute), (-1,), 0)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        held = self._samples[who[0], who[1]]
        spans = self._spans((who[0], who[1]))
        body = {
            "model": "estimated from open interest, leverage tiers and traded ranges; not observed",
            "tiers": {f"{tier:g}": weight for tier, weight in self._tiers.items()},
            "maintenance": self._maintenance,
            "from": next(iter(held)).timestamp,
            "bars": len(spans),
            **told(levels(spans, self._tiers, self._maintenance)),
        }
        return [value(self.name, who, body, held.sequence, held.last.timestamp)], []

    def _spans(self, who: tuple[str, str]) -> list[Span]:
        """Bars with both open interest and trades."""
        by_slot: dict[int, list[_Minute]] = {}
        for minute in self._minutes.get(who, ()):
            by_slot.setdefault(minute.timestamp - minute.timestamp % self._length, []).append(minute)
        found = []
        for sample in self._samples[who]:
            inside = by_slot.get(sample.timestamp - sample.timestamp % self._length)
            if inside:
                volume = sum(one.volume for one in inside)
                low, high = min(one.low for one in inside), max(one.high for one in inside)
                vwap = sum(one.value for one in inside) / volume if volume else low
                # An inverse contract's rounding may push the mean out of the range it is the mean of.
                found.append(Span(low, high, min(max(vwap, low), high), sample.open_interest))
        return found


SERIES = LiquidationLevels
