"""A footprint candle on coarser rows, everything that depends on rows computed anew. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from schemas.candles import FootprintCandle, Imbalance, Stack, Unfinished
from schemas.settings import SignalsSettings
from signals._layout import COLUMNS, ROW, STEP, STEP_DECIMALS
from signals._options import AREA, PAIRS, STACK, TRADED, options
from signals._render import marked, unfinished
from signals._shape import Band, shape
from signals.imbalance import BUYERS, SELLERS, stacks
from signals.value_area import value_area

_DEFAULTS = SignalsSettings()


def coarser(candle: FootprintCandle, row: float, config: SignalsSettings = _DEFAULTS) -> FootprintCandle:
    """``candle`` on rows of ``row`` quote units. Raises ValueError where that is no multiple of its row."""
    band = Band(candle.row, np.array(candle.prices), np.array(candle.buys), np.array(candle.sells))
    made = shape([band], row)
    if made is None:
        return candle
    its, count = options(config), len(made.buy)
    ticks = round(row / candle.row) * candle.row_ticks
    meta = np.zeros(COLUMNS, np.int64)
    meta[ROW], meta[STEP], meta[STEP_DECIMALS] = 1, 1, made.places
    marks = np.zeros(count, np.uint8)
    marked(meta, made.buy, made.sell, count, marks, its)
    control, low, high = value_area(made.buy, made.sell, count, int(its[AREA]), 2 if its[PAIRS] else 1)
    runs = np.zeros((2 * count // int(its[STACK]) + 2, 4), np.int64)
    found = runs[: stacks(marks, made.buy, made.sell, count, int(its[STACK]), its[TRADED] > 0, runs)].tolist()
    top, bottom = unfinished(meta, made.buy, made.sell, count, its)
    return msgspec.structs.replace(
        candle,
        row=float(made.row),
        poc=made.price(control), vah=made.price(high), val=made.price(low),
        prices=[made.price(i) for i in range(count)],
        buys=made.sizes(made.buy), sells=made.sizes(made.sell),
        imbalances=_imbalances(made.buy.tolist(), made.sell.tolist(), marks.tolist(), made.price, config),
        stacks=[
            Stack("buy" if of == BUYERS else "sell", made.price(first), made.price(last), n)
            for of, first, last, n in found
        ],
        unfinished=Unfinished(bool(top), bool(bottom)),
        level=made.first * ticks, row_ticks=ticks,
        row_buys=[], row_sells=[],
    )  # fmt: skip


def _imbalances(
    buys: list[int], sells: list[int], marks: list[int], price: object, config: SignalsSettings
) -> list[Imbalance]:
    its = config.imbalance
    found = []
    for i, mark in enumerate(marks):
        for bit, way, own, other in ((BUYERS, -1, buys, sells), (SELLERS, 1, sells, buys)):
            if mark & bit:
                at = i if its.mode == "horizontal" else i + way
                while its.gaps == "traded" and its.mode != "horizontal" and buys[at] == sells[at] == 0:
                    at += way
                ratio = round(own[i] / other[at], 6) if other[at] else None
                found.append(Imbalance(price(i), "buy" if bit == BUYERS else "sell", ratio))  # type: ignore[operator]
    return found
