"""VWAP and its bands, week and anchors: against fractions, whatever comes late, stops or starts."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from schemas import time
from schemas.names import anchored
from signals._moments import ROOM_BITS, Moments
from signals._products import DISTANCE_MAX, products
from signals.vwap import PLACES, vwap
from tests import oracle
from tests.signal_streams import MIDNIGHT, Machine, messages, reference, stream

ANCHOR = MIDNIGHT - 120_000_000


def _wanted(trades: list[oracle.Trade]) -> tuple[Fraction, Fraction]:
    """VWAP and variance by the definition, exact."""
    weight = sum(t.lots for t in trades)
    mean = Fraction(sum(t.lots * t.tick for t in trades), weight)
    square = Fraction(sum(t.lots * t.tick**2 for t in trades), weight)
    return mean / 100, (square - mean**2) / 10_000


def _cut(number: Fraction) -> Fraction:
    return Fraction(number.numerator * 10**PLACES // number.denominator, 10**PLACES)


def _root(number: Fraction) -> Fraction:
    return Fraction(isqrt(number.numerator * 10 ** (2 * PLACES) // number.denominator), 10**PLACES)


@pytest.mark.parametrize("seed", range(4))
def test_every_anchor_is_the_exact_mean_of_its_trades_with_its_deviations(seed: int) -> None:
    batch = messages(stream(seed, 2_500), seed)
    machine = Machine(late_horizon=3_600_000_000, anchors=[time.iso(ANCHOR)])
    for at in range(0, len(batch), 60):
        machine.feed(batch[at : at + 60])
    truth, keys, compared = reference(batch, machine), machine.keys(), 0
    for (exchange, name), symbol in truth.symbols.items():
        until = truth.clocks[exchange] - oracle.GRACE
        begins = {
            "session": max(t.timestamp for t in symbol.applied) // time.DAY * time.DAY,
            "week": time.floor(until - until % time.MINUTE, time.WEEK),
            anchored(ANCHOR): ANCHOR,
        }
        for anchor, begin in begins.items():
            found = json.loads(keys[f"vwap:{exchange}:{name}:{anchor}".encode()], parse_float=Decimal)
            assert found["from"] == begin
            own = [t for t in symbol.applied if t.timestamp >= begin]
            assert Fraction(found["volume"]) * 1000 == sum(t.lots for t in own)
            if not own:
                assert found["vwap"] is None
                continue
            mean, variance = _wanted(own)
            assert Fraction(found["vwap"]) == _cut(mean)
            assert Fraction(found["deviation"]) == _root(variance)
            for band in found["bands"]:
                assert Fraction(band["upper"]) - Fraction(found["vwap"]) == band["sigma"] * Fraction(found["deviation"])
                assert Fraction(found["vwap"]) - Fraction(band["lower"]) == band["sigma"] * Fraction(found["deviation"])
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("seed", range(3))
def test_profiles_of_the_week_and_from_anchors_hold_exactly_their_trades(seed: int) -> None:
    batch = messages(stream(seed, 2_500), seed)
    machine = Machine(late_horizon=3_600_000_000, anchors=[time.iso(ANCHOR)])
    machine.feed(batch)
    truth, keys = reference(batch, machine), machine.keys()
    for (exchange, name), symbol in truth.symbols.items():
        for of in ("week", anchored(ANCHOR)):
            profile = json.loads(keys[f"profile:{exchange}:{name}:{of}".encode()], parse_float=Decimal)
            own = [t for t in symbol.applied if profile["from"] <= t.timestamp < profile["to"]]
            rows: dict[Fraction, int] = {}
            for trade in own:
                edge = trade.tick * Fraction(1, 100) // Fraction(profile["row"]) * Fraction(profile["row"])
                rows[edge] = rows.get(edge, 0) + trade.signed
            assert [rows.get(Fraction(price), 0) for price in profile["prices"]] == [
                d * 1000 for d in profile["deltas"]
            ]
            assert Fraction(profile["buy"] + profile["sell"]) * 1000 == sum(t.lots for t in own)


def test_a_monday_begins_a_new_week_and_a_late_trade_of_the_old_one_stays_out() -> None:
    monday = time.floor(MIDNIGHT, time.WEEK)
    made = stream(5, 800, start=monday - 600_000_000)
    batch = messages(made, 5)
    machine = Machine(late_horizon=3_600_000_000)
    machine.feed(batch)
    truth, keys = reference(batch, machine), machine.keys()
    symbol = truth.symbols["one", "A-B"]
    found = json.loads(keys[b"vwap:one:A-B:week"], parse_float=Decimal)
    assert found["from"] == monday
    own = [t.lots for t in symbol.applied if t.timestamp >= monday]
    assert own
    assert len(own) < len(symbol.applied)
    assert found["volume"] * 1000 == sum(own)


@trying(deadline=None)
@given(st.integers(-DISTANCE_MAX, DISTANCE_MAX), st.integers(0, 4 * 10**15))
def test_products_beyond_one_integer_are_exact(distance: int, lots: int) -> None:
    if distance * distance * lots >= 2**94:
        return
    first_high, first_low, second_high, second_low = products(distance, lots)
    assert (first_high << ROOM_BITS) + first_low == distance * lots
    assert (second_high << ROOM_BITS) + second_low == distance * distance * lots


def test_bands_of_huge_sizes_and_distances_do_not_overflow() -> None:
    machine = Machine(row=1000.0)
    trades = [(60_000.00, 4e9), (65_000.00, 3e9), (61_234.56, 1e9)]
    from schemas.events import Trade

    made = [
        Trade("one", "A-B", MIDNIGHT + n, MIDNIGHT + n, str(n), p, q, p * q, False) for n, (p, q) in enumerate(trades)
    ]
    machine.feed(messages(made, together=0.0))
    found = json.loads(machine.keys()[b"vwap:one:A-B:session"], parse_float=Decimal)
    own = [oracle.Trade(0, "", round(p * 100), round(q * 1000), False, 0, 0) for p, q in trades]
    mean, variance = _wanted(own)
    assert Fraction(found["vwap"]) == _cut(mean)
    assert Fraction(found["deviation"]) == _root(variance)
    assert machine.core.counters()["too_far"] == 0


def test_a_price_that_never_moves_has_no_deviation() -> None:
    assert vwap(Moments(7, 7 * 5 * 10**18, 7 * 25 * 10**36)) == (5 * 10**PLACES, 0)
    assert vwap(Moments(0, 0, 0)) is None
    assert np.iinfo(np.int64).max < 10**36  # what one integer could not have held
