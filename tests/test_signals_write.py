"""Numbers leave the engine as the shortest exact decimals."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals._write import decimal, integer, parts, plain


def _written(write, *numbers: int) -> bytes:
    out = np.zeros(64, np.uint8)
    return out[: write(out, 0, *numbers)].tobytes()


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62), st.integers(0, 18))
def test_a_decimal_is_exact_and_as_short_as_can_be(value: int, places: int) -> None:
    text = _written(decimal, value, places)
    exact = Decimal(value).scaleb(-places)
    assert Decimal(text.decode()) == exact
    assert text == plain(value, places)
    assert not (b"." in text and text.endswith((b"0", b".")))
    assert float(json.loads(text)) == float(exact)


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62))
def test_a_whole_number_is_written_as_python_writes_it(value: int) -> None:
    assert _written(integer, value) == str(value).encode()


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(0.01, (1, 2)), (0.5, (5, 1)), (1e-8, (1, 8)), (100.0, (100, 0)), (0.00025, (25, 5)), (12.5, (125, 1))],
)
def test_a_tick_is_taken_as_it_is_written(number: float, wanted: tuple[int, int]) -> None:
    assert parts(number) == wanted


def test_a_tick_too_fine_to_write_is_refused() -> None:
    with pytest.raises(ValueError, match="18 decimals"):
        parts(1e-19)
