"""TA-Lib's functions by name: parsed from the configuration, opened on closed bars, updated bar by bar, peeked."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import talib
from talib import _ta_lib, abstract, stream

from signals._layout import Floats

_WRITTEN = re.compile(r"\s*([A-Za-z0-9_]+)\s*(?:\((.*)\))?\s*")
_FUNCTIONS: list[str] = talib.get_functions()  # type: ignore[no-untyped-call]  # TA-Lib's own
_PROBE = 64
"""Bars on which a choice of parameters is tried."""


class Bar(NamedTuple):
    """What TA-Lib computes from."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class IndicatorUnusable(ValueError):
    """What is written names no function of TA-Lib, or parameters it does not take."""


class Indicator(NamedTuple):
    """One function with its parameters. ``name`` is as written in the configuration."""

    name: str
    function: str
    inputs: tuple[int, ...]
    """Columns of ``Bar``."""
    outputs: tuple[str, ...]
    parameters: dict[str, float | int]

    def batch(self, bars: Floats) -> Any:
        """All values at once; ``bars`` is one row for each of ``Bar``'s fields."""
        return getattr(talib, self.function)(*(bars[n] for n in self.inputs), **self.parameters)

    def open(self, bars: Floats) -> Any:
        """A handle that has seen ``bars``; None where they are too few."""
        try:
            return getattr(stream, self.function)(*(bars[n] for n in self.inputs), **self.parameters)
        except _ta_lib.InsufficientHistory:  # type: ignore[attr-defined]  # compiled
            return None

    def told(self, value: Any) -> Any:
        """A value as JSON: one number, or one by name for each output; null where there is none yet."""
        if value is None:
            value = (math.nan,) * len(self.outputs)
            value = value[0] if len(self.outputs) == 1 else value
        if len(self.outputs) == 1:
            return _number(value)
        return {name: _number(one) for name, one in zip(self.outputs, value, strict=True)}


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None


def parse(text: str) -> Indicator:
    """``RSI(14)``, ``MACD(12,26,9)``, ``BBANDS(timeperiod=20, nbdevup=2.5)``, ``OBV``. Raises IndicatorUnusable."""
    match = _WRITTEN.fullmatch(text)
    function = match[1].upper() if match else text.upper()
    if match is None or function not in _FUNCTIONS:
        near = difflib.get_close_matches(function.partition("(")[0], _FUNCTIONS, 5, 0.5)
        hint = f"; near it are {', '.join(near)}" if near else "; https://ta-lib.org/functions lists them"
        raise IndicatorUnusable(f"{text!r} is no function of TA-Lib{hint}")
    info = abstract.Function(function).info  # type: ignore[attr-defined]  # made at run time
    names = [one for its in info["input_names"].values() for one in ([its] if isinstance(its, str) else its)]
    if not set(names) <= set(Bar._fields):
        raise IndicatorUnusable(f"{text!r} needs {', '.join(names)}, which no candle has")
    parameters = _parameters(text, match[2] or "", info["parameters"])
    inputs = tuple(Bar._fields.index(name) for name in names)
    found = Indicator(text.replace(" ", ""), function, inputs, tuple(info["output_names"]), parameters)
    try:
        found.batch(np.ones((len(Bar._fields), _PROBE)))
    except Exception as error:  # TA-Lib raises nothing narrower for a parameter out of its range
        takes = ", ".join(f"{name}={default}" for name, default in info["parameters"].items())
        raise IndicatorUnusable(f"{text!r}: {error}; it takes {takes or 'no parameters'}") from error
    return found


def _parameters(text: str, written: str, known: dict[str, float | int]) -> dict[str, float | int]:
    """By position, or by name. Raises IndicatorUnusable."""
    found: dict[str, float | int] = {}
    order = list(known)
    takes = ", ".join(f"{name}={default}" for name, default in known.items()) or "no parameters"
    for place, part in enumerate(filter(None, (part.strip() for part in written.split(",")))):
        name, equals, number = (one.strip() for one in part.rpartition("="))
        if not equals:
            name = order[place] if place < len(order) else ""
        if name not in known:
            raise IndicatorUnusable(f"{text!r}: no place for {part!r}; it takes {takes}")
        try:
            found[name] = float(number) if isinstance(known[name], float) else int(number)
        except ValueError as error:
            raise IndicatorUnusable(f"{text!r}: {number!r} is no number for {name}; it takes {takes}") from error
    return found


class Line:
    """The indicators of one series of bars: opened on what is there, then one step a bar."""

    def __init__(self, indicators: Sequence[Indicator]) -> None:
        self._indicators = indicators
        self._handles: list[Any] = [None] * len(indicators)
        self._bars: list[Bar] = []

    def begin(self, bars: Sequence[Bar]) -> None:
        """Start over from these closed bars."""
        self._bars = list(bars)
        columns = np.array(self._bars, np.float64).T.copy() if bars else np.zeros((len(Bar._fields), 0))
        self._handles = [one.open(columns) for one in self._indicators]

    def update(self, bar: Bar) -> None:
        """One more closed bar."""
        self._bars.append(bar)
        for n, (one, handle) in enumerate(zip(self._indicators, self._handles, strict=True)):
            if handle is not None:
                handle.update(*(bar[place] for place in one.inputs))
            else:
                self._handles[n] = one.open(np.array(self._bars, np.float64).T.copy())

    def values(self) -> dict[str, Any]:
        """By name as written, after the last closed bar."""
        pairs = zip(self._indicators, self._handles, strict=True)
        return {one.name: one.told(None if handle is None else handle.value) for one, handle in pairs}

    def peek(self, bar: Bar) -> dict[str, Any]:
        """What ``values`` would be if ``bar`` closed as it is."""
        return {
            one.name: one.told(None if handle is None else handle.peek(*(bar[place] for place in one.inputs)))
            for one, handle in zip(self._indicators, self._handles, strict=True)
        }
