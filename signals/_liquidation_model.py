"""Where positions opened lately would be liquidated: a model, not data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from signals._heat import bucket, heat_row
from signals._layout import Floats


class Span(NamedTuple):
    """One bar: the traded range, the volume-weighted price, open interest at its end (base units)."""

    low: float
    high: float
    vwap: float
    open_interest: float


class Sides(NamedTuple):
    """Base units of one side: ``placed`` is what the other three add up to."""

    placed: float
    outstanding: float
    consumed: float
    decayed: float


class Levels(NamedTuple):
    """Outstanding amounts by price, and the account of each side."""

    long_prices: Floats
    long_amounts: Floats
    short_prices: Floats
    short_amounts: Floats
    long: Sides
    short: Sides


def liquidation_price(entry: float, leverage: float, maintenance: float, *, long: bool) -> float:
    """Of an isolated linear position, by Binance's formula without its amount by tier.

    long: E (1 - 1/L) / (1 - m); short: E (1 + 1/L) / (1 + m).
    """
    if long:
        return entry * (1 - 1 / leverage) / (1 - maintenance)
    return entry * (1 + 1 / leverage) / (1 + maintenance)


class _Side:
    """Cells of one side and its account."""

    def __init__(self, factors: Sequence[float], weights: Sequence[float]) -> None:
        self._factors, self._weights = np.array(factors), np.array(weights)
        self.prices: Floats = np.zeros(0)
        self.amounts: Floats = np.zeros(0)
        self.placed = self.consumed = self.decayed = 0.0

    def consume(self, low: float, high: float) -> None:
        inside = (self.prices >= low) & (self.prices <= high)
        self.consumed += float(self.amounts[inside].sum())
        self.prices, self.amounts = self.prices[~inside], self.amounts[~inside]

    def decay(self, share: float) -> None:
        before = float(self.amounts.sum())
        self.amounts = self.amounts * share
        self.decayed += before - float(self.amounts.sum())

    def place(self, entry: float, amount: float) -> None:
        new = amount * self._weights
        self.placed += float(new.sum())
        self.prices = np.concatenate([self.prices, entry * self._factors])
        self.amounts = np.concatenate([self.amounts, new])

    def account(self) -> Sides:
        return Sides(self.placed, float(self.amounts.sum()), self.consumed, self.decayed)


def levels(spans: Sequence[Span], tiers: Mapping[float, float], maintenance: float) -> Levels:
    """Run the model over bars, oldest first. ``tiers``: leverage → share of what is opened.

    In each bar: what lies in its range is consumed; then open interest that fell takes its share of everything that is
    outstanding, and what it rose by is placed for both sides at the bar's volume-weighted price.
    """
    sides = [
        _Side([liquidation_price(1.0, one, maintenance, long=long) for one in tiers], list(tiers.values()))
        for long in (True, False)
    ]
    before: float | None = None
    for span in spans:
        for side in sides:
            side.consume(span.low, span.high)
            if before is not None and span.open_interest < before:
                side.decay(span.open_interest / before)
            elif before is not None and span.open_interest > before:
                side.place(span.vwap, span.open_interest - before)
        before = span.open_interest
    long, short = sides
    return Levels(long.prices, long.amounts, short.prices, short.amounts, long.account(), short.account())


def told(found: Levels) -> dict[str, Any]:
    """As JSON: ``cells`` are ``[price, long, short]`` by rows like those of the heat map, ascending."""
    prices = np.concatenate([found.long_prices, found.short_prices])
    sums: dict[int, list[float]] = {}
    row = heat_row(float(prices.min()), float(prices.max())) if len(prices) else None
    for side, its, amounts in (
        (0, found.long_prices, found.long_amounts),
        (1, found.short_prices, found.short_amounts),
    ):
        for price, amount in zip(its.tolist(), amounts.tolist(), strict=True):
            assert row is not None
            sums.setdefault(bucket(price, row), [0.0, 0.0])[side] += amount
    cells = [[float(place * row), *both] for place, both in sorted(sums.items())] if row is not None else []
    return {
        "row": float(row) if row is not None else None,
        "long": found.long._asdict(),
        "short": found.short._asdict(),
        "cells": cells,
    }
