"""Point of control, value area, imbalances, stacks: the worked examples, and compiled equals plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.imbalance import BUYERS, SELLERS, imbalances
from signals.value_area import value_area
from tests import oracle

# price: (buy, sell), descending as charts show it
CANDLE = {105: (6, 0), 104: (30, 2), 103: (24, 5), 102: (12, 8), 101: (1, 3), 100: (0, 9)}


def _rows(levels: dict[int, tuple[int, int]]) -> tuple[int, list[int], list[int]]:
    first, last = min(levels), max(levels)
    pairs = [levels.get(price, (0, 0)) for price in range(first, last + 1)]
    return first, [buy for buy, _ in pairs], [sell for _, sell in pairs]


def _area(levels: dict[int, tuple[int, int]]) -> tuple[int, int, int]:
    first, buys, sells = _rows(levels)
    found = value_area(np.array(buys), np.array(sells), len(buys))
    plain = oracle.value_area([b + s for b, s in zip(buys, sells, strict=True)])
    assert found == plain
    return tuple(first + row for row in found)


def _found(levels: dict[int, tuple[int, int]]) -> list[tuple[int, str]]:
    first, buys, sells = _rows(levels)
    marks = np.zeros(len(buys), np.uint8)
    count = imbalances(np.array(buys), np.array(sells), len(buys), marks)
    found = [
        (first + row, side)
        for row, mark in enumerate(marks.tolist())
        for bit, side in ((BUYERS, "buy"), (SELLERS, "sell"))
        if mark & bit
    ]
    assert count == len(found)
    assert found == [(first + row, side) for row, side, _ in oracle.imbalances(buys, sells)]
    return found


def _volumes(levels: dict[int, int]) -> dict[int, tuple[int, int]]:
    return {price: (volume, 0) for price, volume in levels.items()}


def test_the_worked_candle_has_its_control_area_and_imbalances() -> None:
    assert _area(CANDLE) == (104, 102, 104)
    assert sorted(_found(CANDLE)) == [(100, "sell"), (102, "buy"), (104, "buy")]
    _, buys, sells = _rows(CANDLE)
    assert oracle.stacks(oracle.imbalances(buys, sells)) == []
    assert sum(buys) + sum(sells) == 100
    assert sum(buys) - sum(sells) == 46


@pytest.mark.parametrize(
    ("levels", "low", "high"),
    [
        ({5: 40, 6: 20, 7: 1, 8: 10, 4: 15, 3: 14}, 3, 7),
        ({106: 150, 107: 90, 108: 80, 109: 50, 105: 70, 104: 60, 103: 30, 102: 24}, 104, 108),
    ],
)
def test_the_value_area_grows_by_pairs_of_rows(levels: dict[int, int], low: int, high: int) -> None:
    assert _area(_volumes(levels))[1:] == (low, high)


@pytest.mark.parametrize(
    ("levels", "control"),
    [({10: 5, 14: 5, 15: 1}, 14), ({10: 1, 11: 5, 14: 5, 15: 1}, 11)],
)
def test_a_tie_goes_to_the_row_nearest_the_middle_and_then_to_the_lower(levels: dict[int, int], control: int) -> None:
    assert _area(_volumes(levels))[0] == control


def test_an_untraded_row_makes_no_imbalance() -> None:
    assert _found({10: (0, 1), 12: (5, 0)}) == []


def test_a_profile_without_volume_has_no_control() -> None:
    nothing = np.zeros(3, np.int64)
    assert value_area(nothing, nothing, 3) == (-1, -1, -1)


_lots = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60)


@settings(deadline=None)
@given(_lots)
def test_compiled_value_area_equals_the_plain_one(rows: list[tuple[int, int]]) -> None:
    buys, sells = (list(side) for side in zip(*rows, strict=True))
    found = value_area(np.array(buys), np.array(sells), len(buys))
    assert found == (oracle.value_area([b + s for b, s in rows]) or (-1, -1, -1))


@settings(deadline=None)
@given(_lots)
def test_compiled_imbalances_equal_the_plain_ones(rows: list[tuple[int, int]]) -> None:
    _found(dict(enumerate(rows)))
