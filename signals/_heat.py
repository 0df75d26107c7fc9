"""Forced orders by time and price: a pure function of the orders and the range that is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from schemas.events import Liquidation

ROWS_WANTED = 200
"""Rows a heat map has at most: the row is the smallest 1·2·5×10ⁿ with which they reach from low to high."""
_EDGE = 1e-6


def heat_row(low: float, high: float) -> Decimal:
    """The row height for prices from ``low`` to ``high``, at least 0.01 % of ``low``."""
    wanted = max((Decimal(repr(high)) - Decimal(repr(low))) / ROWS_WANTED, Decimal(repr(low)) / 10_000)
    decade = Decimal(1).scaleb(wanted.adjusted())
    return next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= wanted)


def bucket(price: float, row: Decimal | float) -> int:
    """The row that holds a price: rounded within a millionth of a row, else down."""
    exact = price / float(row)
    nearest = round(exact)
    return nearest if abs(exact - nearest) < _EDGE else math.floor(exact)


def heat_map(
    orders: Iterable[Liquidation], begin: int, end: int, slot: int,
    low: float | None = None, high: float | None = None, row: Decimal | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What was liquidated in [begin, end) µs and, where given, at prices in [low, high], as sparse cells.

    ``cells`` are ``[time, price, long value, short value]``: the start of the slot (µs), the lower edge of the row,
    quote units. ``coverage`` is ``sampled`` where any order comes from an exchange that tells only some: every sum is
    then a lower bound.
    """
    inside = sorted(
        (
            order for order in orders
            if begin <= order.timestamp < end
            and (low is None or order.price >= low) and (high is None or order.price <= high)
        ),
        key=lambda order: (order.timestamp, order.exchange, order.symbol, order.liquidation_id),
    )  # fmt: skip
    prices = [order.price for order in inside]
    if row is None and prices:
        row = heat_row(min(prices), max(prices))
    parts: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for order in inside:
        assert row is not None
        cell = (order.timestamp - order.timestamp % slot, bucket(order.price, row))
        parts.setdefault(cell, ([], []))[order.side == "short"].append(order.value)
    cells = [
        [at, float(place * row), math.fsum(longs), math.fsum(shorts)]
        for (at, place), (longs, shorts) in sorted(parts.items())
        if row is not None
    ]
    return {
        "from": begin,
        "to": end,
        "slot": slot,
        "row": float(row) if row is not None else None,
        "coverage": "sampled" if any(order.coverage == "sampled" for order in inside) else "all",
        "long": _side([order for order in inside if order.side == "long"]),
        "short": _side([order for order in inside if order.side == "short"]),
        "cells": cells,
    }


def _side(orders: list[Liquidation]) -> dict[str, Any]:
    return {
        "count": len(orders),
        "quantity": math.fsum(order.quantity for order in orders),
        "value": math.fsum(order.value for order in orders),
    }
