"""Rows of volume as JSON readers have them, floats, back to integers, on one row width; exact as far as they were."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import lcm
from typing import NamedTuple

import numpy as np

from signals._layout import Floats, Ints

DIGITS = 15
"""Of the total volume: what a float holds exactly."""
ROWS_MAX = 20_000


class Band(NamedTuple):
    """Volume by row: ``prices`` are lower edges, multiples of ``row``; they need not be contiguous or distinct."""

    row: float
    prices: Floats
    buys: Floats
    sells: Floats


class Shape(NamedTuple):
    """Contiguous rows: row ``i`` begins at ``(first + i) * row``; sizes are in 10**-places base units."""

    row: Decimal
    first: int
    buy: Ints
    sell: Ints
    places: int

    def price(self, i: int) -> float:
        """The lower edge of row ``i``."""
        return float((self.first + i) * self.row)

    def sizes(self, whole: Ints) -> list[float]:
        """Sizes as floats again."""
        return [int(n) / 10**self.places for n in whole]


def shape(bands: Sequence[Band], row: float | None = None) -> Shape | None:
    """All bands on the least row that each fits, or on ``row``; None without rows. ValueError for a wrong row."""
    bands = [band for band in bands if len(band.prices)]
    if not bands:
        return None
    widths = [Decimal(repr(float(band.row))) for band in bands]
    wanted = [*widths] if row is None else [Decimal(repr(float(row)))]
    finest = min(int(width.as_tuple().exponent) for width in (*widths, *wanted))
    units = [int(width.scaleb(-finest)) for width in widths]
    unit = lcm(*units) if row is None else int(wanted[0].scaleb(-finest))
    if unit <= 0 or any(unit % each for each in units):
        raise ValueError(f"rows of {row} cannot be made of rows of {', '.join(sorted({str(w) for w in widths}))}")
    places = [
        np.rint(band.prices / band.row).astype(np.int64) // (unit // each)
        for band, each in zip(bands, units, strict=True)
    ]
    first = min(int(at.min()) for at in places)
    size = max(int(at.max()) for at in places) - first + 1
    if size > ROWS_MAX:
        wider = float(Decimal(unit).scaleb(finest) * (2 ** (size // ROWS_MAX).bit_length()))
        return shape(bands, wider)
    at = np.concatenate(places) - first
    buys = np.bincount(at, np.concatenate([band.buys for band in bands]), size)
    sells = np.bincount(at, np.concatenate([band.sells for band in bands]), size)
    total = float(buys.sum() + sells.sum())
    decimals = max(DIGITS - len(str(int(total))), 0)
    scale = 10.0**decimals
    return Shape(
        Decimal(unit).scaleb(finest), first, np.rint(buys * scale).astype(np.int64),
        np.rint(sells * scale).astype(np.int64), decimals,
    )  # fmt: skip
