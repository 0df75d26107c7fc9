"""``indicators:<x>:<interval>``: TA-Lib's functions on the exchange's candles and on ours, the open candle peeked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from redis.asyncio import Redis

from schemas import time
from schemas.names import key
from schemas.settings import ConfigError, Settings
from signals import footprint
from signals._held import Held
from signals._redis import Member, Value
from signals._series import Series, Source, events, footprints, value
from signals._tables import Tables
from signals._talib import Bar, IndicatorUnusable, Line, parse

_SHORT, _MARGIN = 3 * time.HOUR, 2 * time.HOUR
_PLACES = 8
"""Of a volume: sums from a table and from the engine may differ beyond."""
Who = tuple[str, str, str]


class _Open(msgspec.Struct):
    """What is needed of an open footprint."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    buy: float
    sell: float
    as_of: int


_open = msgspec.json.Decoder(_Open).decode


class _Track:
    """The closed bars of one series and the indicators on them."""

    def __init__(self, line: Line, length: int, bars: int) -> None:
        self.held: Held[Bar] = Held(2 * bars * length, 2 * bars)
        self._line, self._chunk = line, bars * length
        self._begin = self._end = -1

    def anchor(self) -> int:
        """Where the indicators begin: a round time, so that it does not depend on when they were started."""
        return (self.held.newest // self._chunk - 1) * self._chunk

    def put(self, at: int, rank: tuple[int, ...], bar: Bar, sequence: int) -> bool:
        """A closed bar; the indicators take one step, or begin anew where it is not simply the next."""
        newest, was = self.held.newest, self.held.get(at, 0)
        changed = self.held.put(at, 0, rank, bar, sequence)
        if not changed or was == bar:
            return changed
        if at > newest and self._begin == self.anchor() and self._end == newest:
            self._line.update(bar)
            self._end = at
        else:
            self._end = -1
        return True

    def line(self) -> Line:
        """The indicators after the newest closed bar."""
        if self._end != self.held.newest or self._begin != self.anchor():
            self._begin, self._end = self.anchor(), self.held.newest
            self._line.begin(self.held.since(self._begin))
        return self._line


class Indicators(Series):
    """One track for each exchange, symbol, interval and kind of candle."""

    name = "indicators"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        config = settings.signals
        try:
            self._indicators = [parse(text) for text in config.indicators]
        except IndicatorUnusable as error:
            raise ConfigError("settings", "signals.indicators", str(error)) from error
        self._bars = config.indicator_bars
        self._tracks: dict[str, dict[Who, _Track]] = {"kline": {}, "footprint": {}}
        self._open: dict[Who, _Open] = {}
        self._before: dict[Who, bytes | None] = {}
        # The tables hold minutes and longer: shorter candles of ours have no past.
        self._ours = [name for name in config.intervals if time.duration(name) >= time.MINUTE]

    def sources(self) -> tuple[Source, ...]:
        theirs = self.settings.klines.intervals
        return (*_by_length("kline", theirs), *_by_length("footprint", self._ours)) if self._indicators else ()

    def take(self, word: str, event: Any, sequence: int) -> None:
        volume = event.volume if word == "kline" else round(event.buy + event.sell, _PLACES)
        bar = Bar(event.open, event.high, event.low, event.close, volume)
        rank = (event.revision, event.received if word == "kline" else event.gaps_as_of)
        self._put(word, (event.exchange, event.symbol, event.interval), event.timestamp, rank, bar, sequence)

    def _put(self, word: str, who: Who, at: int, rank: tuple[int, ...], bar: Bar, sequence: int) -> None:
        tracks = self._tracks[word]
        if who not in tracks:
            tracks[who] = _Track(Line(self._indicators), time.duration(who[2]), self._bars)
        if tracks[who].put(at, rank, bar, sequence):
            self.dirty.add(who)

    def known(self) -> Iterable[Who]:
        return {*self._tracks["kline"], *self._tracks["footprint"]}

    async def history(self, tables: Tables, now: int) -> None:
        for interval in self.settings.klines.intervals if self._indicators else ():
            begin = now - 2 * self._bars * time.duration(interval)
            for exchange, symbol, at, *prices, revision, received in await tables.fetch(
                "signal_klines", interval, begin
            ):
                self._put("kline", (exchange, symbol, interval), at, (revision or 0, received), Bar(*prices), 0)
        for interval in self._ours if self._indicators else ():
            length = time.duration(interval)
            # A candle that is not whole yet is left out: the log tells it when it has closed.
            end = (now - _MARGIN // 2) // length * length
            begin = end - 2 * self._bars * length
            for exchange, symbol, at, *numbers in await tables.fetch("signal_bars", length, begin, end):
                bar = Bar(*numbers)._replace(volume=round(numbers[-1], _PLACES))
                self._put("footprint", (exchange, symbol, interval), at, (-1,), bar, 0)

    async def poll(self, cache: Redis) -> None:
        everyone = sorted(who for who in self.known() if who[2] in self.settings.signals.intervals)
        if not everyone:
            return
        found: Any = await cache.mget([key(footprint.NAME, *who) for who in everyone])
        for who, text in zip(everyone, found, strict=True):
            if text is not None and text != self._before.get(who):
                self._before[who], self._open[who] = text, _open(text)
                self.dirty.add(who)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        series = (who[0], who[1], who[2])
        body: dict[str, Any] = {"interval": who[2]}
        sequences, as_of = [], 0
        for word, name in (("kline", "klines"), ("footprint", "candles")):
            track = self._tracks[word].get(series)
            if track is None or not len(track.held):
                continue
            line, newest, opened = track.line(), track.held.newest, self._open.get(series)
            body[name] = {"timestamp": newest, "bars": len(track.held.since(track.anchor())), "values": line.values()}
            as_of = max(as_of, newest + time.duration(who[2]))
            sequences.append(track.held.sequence)
            if opened is not None and opened.timestamp > newest:
                bar = Bar(opened.open, opened.high, opened.low, opened.close, round(opened.buy + opened.sell, _PLACES))
                body[name] |= {"open_timestamp": opened.timestamp, "open_values": line.peek(bar)}
                as_of = max(as_of, opened.as_of)
        return [value(self.name, who, body, sequences[0], as_of)], []


def _by_length(word: str, intervals: Iterable[str]) -> tuple[Source, ...]:
    """Short intervals with a short look-back, each long one with one in which it closes."""
    short = [name for name in intervals if time.duration(name) < time.HOUR]
    groups = [(short, _SHORT)] if short else []
    groups += [([name], time.duration(name) + _MARGIN) for name in intervals if time.duration(name) >= time.HOUR]
    if word == "footprint":
        return tuple(footprints(names, lookback) for names, lookback in groups)
    kinds = events("kline")
    return tuple(
        kinds._replace(subjects=tuple(f"md.kline.*.*.{name}" for name in names), lookback=lookback)
        for names, lookback in groups
    )


SERIES = Indicators
