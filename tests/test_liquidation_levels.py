"""Estimated liquidation levels: the formula, and an account in which nothing is lost."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.settings import ConfigError
from signals._liquidation_model import Span, levels, liquidation_price, told
from signals.liquidation_levels import LiquidationLevels
from tests.series import MINUTE, T0, footprint, interest, keys, settings

TIERS = {5.0: 0.2, 10.0: 0.3, 100.0: 0.5}
ON = "signals.levels.enabled = true\n"


def test_the_price_of_liquidation_is_that_of_an_isolated_linear_position() -> None:
    assert liquidation_price(100.0, 10.0, 0.004, long=True) == pytest.approx(90.361446, abs=1e-6)
    assert liquidation_price(100.0, 10.0, 0.004, long=False) == pytest.approx(109.561753, abs=1e-6)


@given(
    st.lists(
        st.tuples(st.floats(50, 150), st.floats(0, 20), st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=40
    )
)
def test_what_was_placed_is_outstanding_consumed_or_decayed(made) -> None:
    spans = [Span(low, low + width, low + width * place, amount) for low, width, place, amount in made]
    found = levels(spans, TIERS, 0.004)
    rises = sum(max(b.open_interest - a.open_interest, 0.0) for a, b in pairwise(spans))
    for side in (found.long, found.short):
        assert side.placed == pytest.approx(side.outstanding + side.consumed + side.decayed, rel=1e-9, abs=1e-6)
        assert side.placed == pytest.approx(rises, rel=1e-9, abs=1e-6)
        assert min(side) >= -1e-6
    shown = told(found)
    assert sum(cell[1] for cell in shown["cells"]) == pytest.approx(found.long.outstanding, rel=1e-9, abs=1e-6)
    assert sum(cell[2] for cell in shown["cells"]) == pytest.approx(found.short.outstanding, rel=1e-9, abs=1e-6)


def test_a_rise_places_a_fall_takes_its_share_and_a_traded_level_is_consumed() -> None:
    calm, rise = Span(99.9, 100.1, 100.0, 1_000.0), Span(99.9, 100.1, 100.0, 1_100.0)
    placed = levels([calm, rise], TIERS, 0.004)
    assert (placed.long.placed, placed.long.outstanding) == (100.0, 100.0)
    fallen = levels([calm, rise, Span(99.9, 100.1, 100.0, 550.0)], TIERS, 0.004)
    assert (fallen.long.decayed, fallen.long.outstanding) == (50.0, 50.0)
    # 100x longs go near 99.4; the 10x and 5x below stay.
    traded = levels([calm, rise, Span(99.0, 100.0, 99.5, 1_100.0)], TIERS, 0.004)
    assert (traded.long.consumed, traded.long.outstanding) == (50.0, 50.0)
    assert traded.short.consumed == 0.0


def _signal(text: str = "") -> LiquidationLevels:
    signal = LiquidationLevels(settings(ON + text))
    for n in range(60):
        at, price = T0 + n * MINUTE, 100.0 + (n % 9) / 10
        candle = footprint(at, price, [1.0], [1.0], buy_value=price, sell_value=price)
        signal.take("footprint", candle, n + 1)
        signal.take("open_interest", interest(at, 1_000.0 + 7 * n), n + 1)
    return signal


def _told(text: str = "") -> dict:
    return msgspec.json.decode(keys(_signal(text))[b"liquidation_levels:one:BTC-USDT-PERP"])


def test_the_key_says_that_it_is_a_model_and_each_option_makes_a_difference() -> None:
    plain = _told()
    assert plain["model"].startswith("estimated")
    assert plain["bars"] == 12
    assert plain["long"]["placed"] == pytest.approx(11 * 5 * 7)
    assert _told("signals.levels.maintenance = 0.01")["cells"] != plain["cells"]
    assert _told("signals.levels.tiers = [3]\nsignals.levels.weights = [1]")["tiers"] == {"3": 1.0}
    assert _told('signals.levels.window = "30m"')["bars"] == 6
    assert _told('signals.open_interest = "15m"')["bars"] == 4


def test_it_is_off_by_default_and_refuses_weights_that_do_not_fit() -> None:
    assert LiquidationLevels(settings()).sources() == ()
    with pytest.raises(ConfigError, match="one for each"):
        LiquidationLevels(settings("signals.levels.weights = [1.0]"))
    with pytest.raises(ConfigError, match="above 1"):
        LiquidationLevels(settings("signals.levels.tiers = [1]\nsignals.levels.weights = [1]"))
