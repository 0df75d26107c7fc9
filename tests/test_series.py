"""Signals over the slower streams: their numbers, and that these are a function of the events alone."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest
import wickra
from hypothesis import given
from hypothesis import strategies as st

from schemas.settings import ConfigError
from signals._cascade import Cascades
from signals._heat import bucket, heat_map, heat_row
from signals._held import Held
from signals._interest import bars, interest_profile, minute, quadrant
from signals._pools import Pools
from signals.funding import Fundings, equivalents, flips, inferred_hours, z_score
from signals.liquidation_levels import LiquidationLevels
from signals.liquidations import Liquidations
from signals.open_interest import Interests
from tests.series import (
    HOUR,
    MINUTE,
    PERPETUALS,
    T0,
    footprint,
    funding,
    interest,
    keys,
    liquidation,
    settings,
    shuffled,
)

DAY = 24 * HOUR


# --- what is held is a set --------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(0, 2)), max_size=60), st.randoms())
def test_what_is_held_does_not_depend_on_the_order_of_arrival(events, rng) -> None:
    def after(order):
        held = Held(25, 8)
        for at, identity, rank in order:
            held.put(at, identity, (rank,), (at, identity, rank), 1)
        return list(held)

    wanted = after(events)
    mixed = [*events, *events[::3]]
    rng.shuffle(mixed)
    assert after(mixed) == wanted
    newest = max((event[0] for event in events), default=0)
    best = {}
    for event in events:
        if event[0] > newest - 25:
            best[event[:2]] = max(best.get(event[:2], event), event)
    assert wanted == sorted(best.values())[-8:]


def test_a_message_tells_the_sequence_of_what_a_table_told_before() -> None:
    held: Held[str] = Held(100, 10)
    assert held.put(1, "a", (0,), "row", 0)
    assert not held.heard(1, "a")
    assert held.put(1, "a", (0,), "message", 7)
    assert not held.put(1, "a", (0,), "copy", 9)
    assert not held.put(1, "a", (0,), "row", 0)
    assert held.sequence == 7
    assert held.heard(1, "a")


def _events(rng):
    """(word, event, sequence) of a few hours, sequences rising within each word."""
    made = []
    for n in range(150):
        who = PERPETUALS[n % 3]
        at = T0 + n * 3 * MINUTE
        made.append(("open_interest", interest(at - at % MINUTE, 1_000 + rng.uniform(-50, 50), who)))
        rows = [rng.randrange(1, 9) / 8 for _ in range(4)]
        made.append(("footprint", footprint(at, 100.0 + n % 7, rows, rows[::-1], who=who, revision=n % 2)))
        end = T0 + (n // 30 + 1) * 8 * HOUR
        made.append(("funding", funding(end - 8 * HOUR + n * MINUTE, rng.uniform(-1e-4, 3e-4), end, who)))
        made.append(
            ("liquidation", liquidation(at, rng.choice(["long", "short"]), rng.uniform(90, 110), 500.0, who, f"l{n}"))
        )
    return [(word, event, n + 1) for n, (word, event) in enumerate(made)]


@pytest.mark.parametrize("made", [Liquidations, Interests, Fundings, LiquidationLevels])
@pytest.mark.parametrize("seed", range(3))
def test_keys_are_the_same_bytes_in_any_order_between_streams_with_copies(made, seed) -> None:
    rng = random.Random(seed)
    events = _events(rng)
    on = settings("signals.levels.enabled = true")
    first, second = made(on), made(on)
    words = {source.word for source in first.sources()}
    events = [one for one in events if one[0] in words]
    for one in events:
        first.take(*one)
    wanted = keys(first)
    assert wanted
    # Within a word the log keeps its order; a copy has a later sequence.
    for word in sorted(words, reverse=True):
        mine = [one for one in events if one[0] == word]
        for one in [*mine, *((w, e, s + 10_000) for w, e, s in mine[-20:])]:
            second.take(*one)
    assert keys(second) == wanted
    third = made(on)
    for one in shuffled(rng, events):
        third.take(*one)
    assert keys(third) == wanted


# --- liquidations -----------------------------------------------------------------------------------------------
def test_a_heat_map_sums_value_by_slot_row_and_side_and_says_when_it_is_a_lower_bound() -> None:
    orders = [
        liquidation(T0, "long", 100.4, 10.0, number="a"),
        liquidation(T0 + 1, "long", 100.9, 20.0, number="b"),
        liquidation(T0 + 2, "short", 100.1, 40.0, number="c"),
        liquidation(T0 + MINUTE, "short", 101.0, 80.0, number="d"),
        liquidation(T0 + 2 * MINUTE, "long", 150.0, 1.0, number="e", coverage="sampled"),
    ]
    found = heat_map(orders, T0, T0 + 2 * MINUTE, MINUTE, row=Decimal(1))
    assert found["cells"] == [[T0, 100.0, 30.0, 40.0], [T0 + MINUTE, 101.0, 0.0, 80.0]]
    assert found["coverage"] == "all"
    assert (found["long"]["count"], found["long"]["value"], found["short"]["value"]) == (2, 30.0, 120.0)
    assert heat_map(orders, T0, T0 + 3 * MINUTE, MINUTE)["coverage"] == "sampled"
    seen = heat_map(orders, T0, T0 + 3 * MINUTE, MINUTE, low=100.5, high=101.0, row=Decimal(1))
    assert seen["cells"] == [[T0, 100.0, 20.0, 0.0], [T0 + MINUTE, 101.0, 0.0, 80.0]]


@given(st.lists(st.tuples(st.integers(0, 600), st.floats(1, 1e5), st.booleans(), st.floats(1, 1e6)), max_size=40))
def test_the_cells_of_a_heat_map_hold_what_was_liquidated(orders) -> None:
    made = [
        liquidation(T0 + at * 1_000_000, "long" if long else "short", price, worth, number=str(n))
        for n, (at, price, long, worth) in enumerate(orders)
    ]
    found = heat_map(made, T0, T0 + 600_000_001, MINUTE)
    for column, side in ((2, "long"), (3, "short")):
        assert sum(cell[column] for cell in found["cells"]) == pytest.approx(found[side]["value"])
    assert len({cell[1] for cell in found["cells"]}) <= 202


def test_a_row_of_the_heat_map_is_round_and_holds_its_lower_edge() -> None:
    assert heat_row(100.0, 101.0) == Decimal("0.01")
    assert heat_row(100.0, 400.0) == Decimal(2)
    assert bucket(0.3, Decimal("0.1")) == 3
    assert bucket(0.29, Decimal("0.1")) == 2


def test_sums_over_exchanges_keep_simulated_ones_apart() -> None:
    pools = Pools(["USD", "USDT"])
    assert pools.pool(("one", "BTC-USDT-PERP")) == ("all", "BTC-USD-PERP")
    assert pools.pool(("one", "BTC-USD-BTC-PERP")) == ("all", "BTC-USD-PERP")
    assert pools.pool(("sim_one", "BTC-USDT")) == ("sim_all", "BTC-USD")
    assert pools.pool(("one", "BTC-EUR")) is None
    assert pools.pool(("one", "BTC-USDT-20261225")) is None
    signal = Liquidations(settings())
    for n, who in enumerate(PERPETUALS):
        signal.take("liquidation", liquidation(T0, "long", 100.0, 10.0 * (n + 1), who, str(n)), n + 1)
    found = keys(signal)
    both = msgspec.json.decode(found[b"liquidations:all:BTC-USD-PERP:session"])
    assert both["long"]["value"] == 30.0
    assert both["members"] == ["one:BTC-USDT-PERP", "two:BTC-USD-BTC-PERP"]
    assert msgspec.json.decode(found[b"liquidations:sim_all:BTC-USD-PERP:session"])["long"]["value"] == 30.0


def test_a_cascade_is_told_once_when_count_and_value_are_reached_and_again_after_a_pause() -> None:
    signal = Liquidations(settings("signals.cascade.value = 100.0\nsignals.cascade.count = 3"))
    for n in range(9):
        signal.take("liquidation", liquidation(T0 + n * 1_000_000, "long", 100 - n, 50.0, number=str(n)), n + 1)
        signal.take("liquidation", liquidation(T0 + n * 1_000_000, "long", 100 - n, 50.0, number=str(n)), n + 50)
    assert len(signal.letters) == 1
    told = msgspec.json.decode(signal.letters[0].payload)
    assert (told["timestamp"], told["begin"]) == (T0 + 2_000_000, T0)
    assert signal.letters[0].subject == "sig.cascade.one.BTC-USDT-PERP"
    assert (told["side"], told["low"], told["high"], told["count"], told["value"]) == ("sell", 98.0, 100.0, 3, 150.0)
    for n in range(3):
        at = T0 + 60_000_000 + n
        signal.take("liquidation", liquidation(at, "long", 90.0, 50.0, number=f"x{n}"), 100 + n)
    assert len(signal.letters) == 2


@pytest.mark.parametrize(("text", "told"), [("count = 6", 0), ("value = 1e9", 0), ('window = "1s"', 0), ("", 1)])
def test_each_option_of_a_cascade_decides(text, told) -> None:
    options = settings(f"[signals.cascade]\n{text}").signals.cascade
    cascades, events, letters = Cascades(options), [], []
    for n in range(5):
        events.append(liquidation(T0 + n * 1_000_000, "short", 100.0, 60_000.0, number=str(n)))
        letters += cascades.step(events[-1], events, n + 1)
    assert len(letters) == told


# --- open interest ----------------------------------------------------------------------------------------------
def test_the_four_quadrants_are_named_by_both_signs() -> None:
    assert quadrant(1, 1) == "new_longs"
    assert quadrant(-1, 1) == "new_shorts"
    assert quadrant(-1, -1) == "long_covering"
    assert quadrant(1, -1) == "short_covering"
    assert quadrant(0, 1) is None
    assert quadrant(None, 1) is None


def test_bars_compare_with_the_bar_before_and_the_profile_shares_the_change_out_by_volume() -> None:
    samples = [interest(T0, 100.0), interest(T0 + 5 * MINUTE, 110.0), interest(T0 + 10 * MINUTE, 104.0)]
    minutes = [
        minute(footprint(T0, 100.0, [1.0, 0.0], [0.0, 1.0], low=100.0)),
        minute(footprint(T0 + 5 * MINUTE, 102.0, [0.0, 3.0], [1.0, 0.0], low=101.0)),
        minute(footprint(T0 + 6 * MINUTE, 103.0, [1.0, 3.0], [2.0, 6.0], low=102.0)),
        minute(footprint(T0 + 10 * MINUTE, 101.0, [5.0], [1.0], low=101.0)),
    ]
    found = bars(samples, minutes, 5 * MINUTE)
    assert [(bar.delta, bar.price_delta, bar.volume_delta) for bar in found] == [
        (None, None, 0.0), (10.0, 3.0, -2.0), (-6.0, -2.0, 4.0),
    ]  # fmt: skip
    assert [bar.quadrant for bar in found] == [None, "new_longs", "long_covering"]
    assert [bar.quadrant_volume for bar in found] == [None, "new_shorts", "short_covering"]
    profile = interest_profile(found, minutes, 5 * MINUTE)
    shares = {101.0: 10 * 1 / 16 - 6.0, 102.0: 10 * 6 / 16, 103.0: 10 * 9 / 16}
    assert dict(zip(profile["prices"], profile["deltas"], strict=True)) == pytest.approx(shares)
    assert sum(profile["deltas"]) == pytest.approx(4.0)


def test_the_bar_of_open_interest_can_be_set_and_must_divide_an_hour() -> None:
    def told(text):
        signal = Interests(settings(text))
        for n in range(30):
            signal.take("open_interest", interest(T0 + n * MINUTE, 100.0 + n), n + 1)
        return msgspec.json.decode(keys(signal)[b"open_interest:one:BTC-USDT-PERP"])

    assert (told("")["delta"], len(told("")["bars"])) == (5.0, 6)
    wide = told('signals.open_interest = "15m"')
    assert (wide["delta"], wide["interval"], len(wide["bars"])) == (15.0, "15m", 2)
    with pytest.raises(ConfigError, match="divide an hour"):
        Interests(settings('signals.open_interest = "7m"'))


def test_the_sum_of_open_interest_names_members_and_which_are_stale() -> None:
    signal = Interests(settings())
    signal.take("open_interest", interest(T0, 100.0, PERPETUALS[0]), 1)
    signal.take("open_interest", interest(T0 + 10 * MINUTE, 7.0, PERPETUALS[1]), 2)
    found = msgspec.json.decode(keys(signal)[b"open_interest:all:BTC-USD-PERP"])
    assert (found["open_interest"], found["stale"], found["sequence"]) == (107.0, ["one:BTC-USDT-PERP"], 2)


# --- funding ----------------------------------------------------------------------------------------------------
def test_a_rate_is_told_over_eight_hours_and_a_year_by_its_own_interval() -> None:
    hourly = equivalents(0.0001, 1.0)
    assert hourly["rate_8h"] == pytest.approx(0.0008)
    assert hourly["apr"] == pytest.approx(0.876)
    assert equivalents(0.0001, 4.0)["apr"] == pytest.approx(0.0001 * 6 * 365)
    assert equivalents(0.0001, None) == {"rate": 0.0001, "interval_hours": None, "rate_8h": None, "apr": None}
    assert inferred_hours([T0, T0 + 4 * HOUR]) == 4.0


def test_the_z_score_agrees_with_an_independent_one() -> None:
    rng = random.Random(3)
    rates = [rng.gauss(1e-4, 5e-5) for _ in range(40)]
    oracle = wickra.ZScore(40)
    expected = [oracle.update(rate) for rate in rates][-1]
    assert z_score(rates) == pytest.approx(expected, rel=1e-9)
    assert z_score(rates[:9]) is None
    assert z_score([1e-4] * 20) == 0.0
    assert flips([1.0, 2.0, -1.0, 0.0, -2.0, 3.0]) == 2


def test_a_period_keeps_its_last_rate_and_venues_are_weighted_by_open_interest() -> None:
    signal = Fundings(settings())
    end = T0 + 8 * HOUR
    signal.take("funding", funding(T0, 0.0001, end), 1)
    signal.take("funding", funding(T0 + HOUR, 0.0003, end), 2)
    signal.take("funding", funding(T0 + MINUTE, 0.0009, end), 3)
    signal.take("funding", funding(T0, 0.0001, T0 + HOUR, PERPETUALS[1], 1.0), 4)
    signal.take("open_interest", interest(T0, 300.0), 1)
    signal.take("open_interest", interest(T0, 100.0, PERPETUALS[1]), 2)
    found = keys(signal)
    one = msgspec.json.decode(found[b"funding:one:BTC-USDT-PERP"])
    assert (one["rate"], one["periods"], one["next_funding"]) == (0.0003, 1, end)
    both = msgspec.json.decode(found[b"funding:all:BTC-USD-PERP"])
    assert both["rate_8h"] == pytest.approx((0.0003 * 300 + 0.0008 * 100) / 400)
    assert [member["member"] for member in both["members"]] == ["one:BTC-USDT-PERP", "two:BTC-USD-BTC-PERP"]


def test_an_impossible_end_of_a_period_does_not_push_the_others_out() -> None:
    signal = Fundings(settings())
    signal.take("funding", funding(T0, 0.0001, T0 + 8 * HOUR), 1)
    signal.take("funding", funding(T0 + 1, 0.0002, T0 + 5_000 * DAY), 2)
    found = msgspec.json.decode(keys(signal)[b"funding:one:BTC-USDT-PERP"])
    assert (found["periods"], found["rate"]) == (1, 0.0002)
