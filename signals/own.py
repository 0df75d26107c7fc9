"""``signal:<name>:<x>``: a signal of your own, one Python file. What it may define: docs/signals.md#your-own-signal."""

from __future__ import annotations

import faulthandler
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas import time
from schemas.events import Event, Trade, kind
from schemas.names import event_subject
from schemas.settings import Settings
from signals._layout import Floats, Ints
from signals._own_names import GROUP
from signals._recent import Recent
from signals._redis import Member, Value
from signals._series import Series, Source, events, footprints, value

HANG_S = 30
"""A call that takes longer ends the process, with a traceback in its log."""
_METHODS = {
    "trades": "trade", "candle": "footprint", "kline": "kline", "liquidation": "liquidation",
    "open_interest": "open_interest", "funding": "funding",
}  # fmt: skip


class Trades(NamedTuple):
    """New trades of one symbol in the order of the log: columns of equal length."""

    timestamp: Ints
    price: Floats
    quantity: Floats
    value: Floats
    is_buyer_maker: npt.NDArray[np.bool_]


class OwnSignalFailed(Exception):
    """A user's code raised, or cannot be loaded; what it raised is the cause."""

    def __init__(self, name: str, where: str, problem: BaseException) -> None:
        super().__init__(f"signal {name}: {where}: {type(problem).__name__}: {problem}")
        self.name, self.where = name, where


class Declared(NamedTuple):
    """What a file declares."""

    name: str
    make: type[Any]
    intervals: tuple[str, ...]
    lookback: int


def load(name: str, where: Path | str) -> Declared:
    """Run the file, anew each time. Raises OwnSignalFailed."""
    try:
        module = _module(name, where)
        make = module if isinstance(module, type) else module.Signal
        around: Any = sys.modules[make.__module__] if isinstance(module, type) else module
        lookback = time.duration(getattr(around, "LOOKBACK", "1h"))
        return Declared(name, make, tuple(getattr(around, "INTERVALS", ("1m",))), lookback)
    except Exception as error:
        raise OwnSignalFailed(name, "loading", error) from error


def _module(name: str, where: Path | str) -> ModuleType | Any:
    if isinstance(where, str):
        return next(iter(entry_points(group=GROUP, name=name))).load()
    spec = importlib.util.spec_from_file_location(f"own_signal_{name}", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # numba and dataclasses look a module up by its name
    spec.loader.exec_module(module)
    return module


class Own(Series):
    """One ``Signal`` for each exchange and symbol; copies are dropped before it sees them."""

    name = "own"

    def __init__(self, declared: Declared, settings: Settings, *, watched: bool = False) -> None:
        super().__init__(settings)
        self.name = f"signal-{declared.name}"  # type: ignore[misc]  # of its watermark
        self._declared, self._watched = declared, watched
        self._signals: dict[tuple[str, str], Any] = {}
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        self._recent = Recent()

    def sources(self) -> tuple[Source, ...]:
        its = self._declared
        found = []
        for method, word in _METHODS.items():
            if not hasattr(its.make, method):
                continue
            if word == "footprint":
                found.append(footprints(its.intervals, its.lookback))
                continue
            source = events(word, its.lookback)
            if word == "kline":
                source = source._replace(subjects=tuple(f"md.kline.*.*.{one}" for one in its.intervals))
            found.append(source)
        return tuple(found)

    def take_many(self, word: str, batch: Sequence[tuple[Any, int]]) -> None:
        if word != "trade":
            super().take_many(word, batch)
            return
        fresh: dict[tuple[str, str], list[Trade]] = {}
        for event, sequence in batch:
            who = event.exchange, event.symbol
            if self._recent.add((word, *who), (event.trade_id, event.timestamp)):
                fresh.setdefault(who, []).append(event)
                self._note(who, event.timestamp, sequence)
        for who, trades in fresh.items():
            self._call(who, "trades", _columns(trades))

    def take(self, word: str, event: Any, sequence: int) -> None:
        who = event.exchange, event.symbol
        told = getattr(event, "revision", 0), getattr(event, "gaps_as_of", 0)
        mark = (getattr(event, "interval", ""), getattr(event, "liquidation_id", ""), event.timestamp, *told)
        if self._recent.add((word, *who), mark):
            self._note(who, event.timestamp, sequence)
            self._call(who, "candle" if word == "footprint" else word, event)

    def _note(self, who: tuple[str, str], timestamp: int, sequence: int) -> None:
        as_of, last = self._told.get(who, (0, 0))
        self._told[who] = max(as_of, timestamp), max(last, sequence)
        self.dirty.add(who)

    def _call(self, who: tuple[str, str], method: str, *arguments: Any) -> Any:
        """A method of the user's code. Raises OwnSignalFailed for whatever it raises."""
        if self._watched:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            if who not in self._signals:
                self._signals[who] = self._declared.make(*who)
            return getattr(self._signals[who], method)(*arguments)
        except Exception as error:
            raise OwnSignalFailed(self._declared.name, f"{method} of {':'.join(who)}", error) from error
        finally:
            if self._watched:
                faulthandler.cancel_dump_traceback_later()

    def known(self) -> Iterable[tuple[str, ...]]:
        return list(self._signals)

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        body = self._call((who[0], who[1]), "value")
        if body is None:
            return [], []
        as_of, sequence = self._told[who[0], who[1]]
        try:
            return [value(f"signal:{self._declared.name}", who, dict(body), sequence, as_of)], []
        except (TypeError, ValueError) as error:
            raise OwnSignalFailed(self._declared.name, f"value of {':'.join(who)}", error) from error


def _columns(trades: Sequence[Trade]) -> Trades:
    return Trades(
        np.array([one.timestamp for one in trades], np.int64),
        np.array([one.price for one in trades], np.float64),
        np.array([one.quantity for one in trades], np.float64),
        np.array([one.value for one in trades], np.float64),
        np.array([one.is_buyer_maker for one in trades], np.bool_),
    )


def trial(make: type[Any], *batches: Sequence[Event]) -> dict[tuple[str, str], Any]:
    """What a ``Signal`` class makes of batches of events, for its test: (exchange, symbol) → ``value()``."""
    signal = Own(Declared("trial", make, ("1m",), time.HOUR), Settings())
    for number, batch in enumerate(batches):
        by_word: dict[str, list[tuple[Event, int]]] = {}
        for event in batch:
            assert event_subject(event)
            by_word.setdefault(kind(event), []).append((event, number + 1))
        for word, its in by_word.items():
            signal.take_many(word, its)
    return {who: its.value() for who, its in signal._signals.items()}
