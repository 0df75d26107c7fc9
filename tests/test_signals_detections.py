"""Detections: each rule on an example made for it, each option by its difference, and every key however cut."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from schemas.detections import SIGNALS, Detection
from schemas.events import Clock, Event, Trade
from schemas.names import detection_message_id
from schemas.settings import (
    AbsorptionSettings,
    DivergenceSettings,
    ExhaustionSettings,
    ImbalanceSettings,
    LargeTradeSettings,
    ProfileSettings,
    SweepSettings,
    UnfinishedSettings,
)
from signals._layout import DAY
from tests.signal_streams import MIDNIGHT, Machine, messages, stream

MINUTE, SECOND = 60_000_000, 1_000_000
Rows = dict[int, tuple[float, float]]


class Tape:
    """Trades of one symbol written down one after the other."""

    def __init__(self, at: int = MIDNIGHT) -> None:
        self.at, self.made = at, []

    def trade(self, price: float, quantity: float, side: str = "buy", after: int = 1_000) -> Tape:
        self.at += after
        number = str(len(self.made) + 1)
        value = price * quantity
        self.made.append(Trade("one", "A-B", self.at, self.at, number, price, quantity, value, side == "sell"))
        return self

    def minute(self, rows: Rows, opens: int | None = None, closes: int | None = None) -> Tape:
        """A one-minute candle of (buy, sell) by price, then the next minute begins."""
        start = self.at = self.at - self.at % MINUTE
        order = sorted(rows)
        if opens is not None:
            self.trade(opens, 0.001, "buy")
        for price in order:
            for side, size in zip(("buy", "sell"), rows[price], strict=True):
                if size:
                    self.trade(price, size, side)
        if closes is not None:
            self.trade(closes, 0.001, "buy")
        self.at = start + MINUTE
        return self

    def wait(self, duration: int) -> Tape:
        self.at += duration
        self.made.append(Clock("one", self.at, self.at))
        return self

    def seen(self, *signals: str, **config: Any) -> list[Detection]:
        """What an engine sees in it, a minute and a second after its end."""
        machine = Machine(row=1.0, **{"detect": ["1m"], **config})
        machine.feed(messages([*self.made, Clock("one", self.at + 61 * SECOND, self.at)], together=0.0))
        return [one for one in machine.core.watch.outgoing if one.signal in signals]


def _of(found: Iterable[Detection]) -> list[tuple[str, str, float, float]]:
    return [(one.event, one.side, one.low, one.high) for one in found]


LADDER: Rows = {100: (0, 1), 101: (5, 1), 102: (5, 1), 103: (5, 1), 104: (5, 0)}
"""Buy imbalances at 101 to 104."""


def test_a_stack_opens_a_zone_that_closes_when_price_trades_through_it() -> None:
    tape = Tape().minute(LADDER).minute({102: (1, 1), 103: (1, 0)}).minute({99: (1, 1)})
    assert _of(tape.seen("stack")) == [("opened", "buy", 101, 104), ("closed", "buy", 101, 104)]
    opened, closed = tape.seen("stack")
    assert (opened.count, opened.size, opened.timestamp) == (4, 20, MIDNIGHT)
    assert (closed.begin, closed.timestamp) == (MIDNIGHT, MIDNIGHT + 2 * MINUTE)


def test_a_zone_that_closes_by_touch_closes_earlier() -> None:
    tape = Tape().minute(LADDER).minute({102: (1, 1), 103: (1, 0)})
    assert [one.event for one in tape.seen("stack")] == ["opened"]
    touch = ImbalanceSettings(closes="touch")
    assert [one.event for one in tape.seen("stack", imbalance=touch)] == ["opened", "closed"]


def test_a_zone_may_close_by_itself_after_so_many_candles() -> None:
    tape = Tape().minute(LADDER)
    for _ in range(4):
        tape.minute({110: (1, 0)})
    assert [one.event for one in tape.seen("stack")] == ["opened"]
    opened, closed = tape.seen("stack", imbalance=ImbalanceSettings(candles=3))
    assert closed.event == "closed"
    assert opened.timestamp + 3 * MINUTE <= closed.timestamp <= opened.timestamp + 4 * MINUTE


@pytest.mark.parametrize(
    ("rows", "option"),
    [
        (LADDER, {"stack": 5}),
        (LADDER, {"ratio": 600}),
        (LADDER, {"minimum": 5.0}),
        ({100: (0, 9), 101: (5, 1), 102: (5, 1), 103: (5, 1)}, {"mode": "horizontal"}),
        ({100: (0, 1), 101: (3, 1), 102: (3, 1), 103: (3, 0)}, {"inclusive": True}),
        ({100: (1, 0), 101: (5, 0), 102: (5, 0), 103: (5, 0)}, {"zero": "minimum"}),
        ({100: (0, 1), 102: (5, 1), 104: (5, 1), 106: (5, 0)}, {"gaps": "traded"}),
        ({100: (0, 1), 101: (5, 1), 102: (5, 1), 103: (5, 1), 104: (90, 9)}, {"minimum_percentile": 90}),
    ],
)
def test_every_option_of_imbalances_makes_a_stack_appear_or_vanish(rows: Rows, option: dict[str, Any]) -> None:
    tape = Tape().minute(rows)
    default, other = tape.seen("stack"), tape.seen("stack", imbalance=ImbalanceSettings(**option))
    assert len(default) + len(other) == 1


def test_an_unfinished_auction_stands_until_price_comes_back() -> None:
    tape = Tape().minute({100: (0, 3), 101: (2, 2), 102: (4, 1)}).minute({101: (1, 0)}).minute({102: (1, 0)})
    first = [one for one in tape.seen("unfinished") if one.begin == MIDNIGHT]
    assert _of(first) == [("opened", "sell", 102, 102), ("closed", "sell", 102, 102)]
    assert first[1].timestamp == MIDNIGHT + 2 * MINUTE


@pytest.mark.parametrize(
    ("rows", "option"),
    [({100: (0, 3), 102: (4, 1)}, {"buy": 4.0}), ({100: (1, 3), 102: (4, 0)}, {"sell": 3.0})],
)
def test_filters_of_unfinished_auctions_leave_small_ones_out(rows: Rows, option: dict[str, float]) -> None:
    tape = Tape().minute(rows)
    assert tape.seen("unfinished")
    assert not tape.seen("unfinished", unfinished=UnfinishedSettings(**option))


def test_a_session_leaves_a_naked_point_of_control_until_a_later_candle_meets_it() -> None:
    tape = Tape().minute({100: (1, 0), 105: (9, 0), 110: (1, 0)})
    tape.at = MIDNIGHT + DAY
    tape.minute({120: (1, 0)}).minute({105: (1, 0)})
    found = tape.seen("naked_poc")
    assert _of(found) == [("opened", "sell", 105, 105), ("closed", "sell", 105, 105)]
    assert [one.timestamp for one in found] == [MIDNIGHT, MIDNIGHT + DAY + MINUTE]


def test_only_so_many_naked_points_of_control_are_kept() -> None:
    tape = Tape()
    for day in range(3):
        tape.at = MIDNIGHT + day * DAY
        tape.minute({100 + 10 * day: (1, 0)})
    tape.at = MIDNIGHT + 3 * DAY
    tape.minute({100: (1, 0)})
    assert [one.low for one in tape.seen("naked_poc") if one.event == "closed"] == [100]
    assert not [one for one in tape.seen("naked_poc", profile=ProfileSettings(naked=2)) if one.event == "closed"]


def test_a_rising_candle_on_falling_delta_diverges() -> None:
    found = Tape().minute({101: (0, 5), 102: (1, 0)}, opens=100, closes=103).seen("divergence_bar")
    assert [(one.side, one.value) for one in found] == [("sell", pytest.approx(-3.998))]
    assert not Tape().minute({101: (5, 0), 102: (1, 0)}, opens=100, closes=103).seen("divergence_bar")


def test_a_lower_candle_on_rising_delta_is_a_reversal() -> None:
    tape = Tape().minute({100: (1, 1), 105: (1, 1)}).minute({98: (5, 1), 104: (1, 1)})
    assert [(one.side, one.count) for one in tape.seen("divergence_reversal")] == [("buy", 2)]
    tape = Tape().minute({100: (1, 1), 105: (1, 1)}).minute({98: (5, 1), 105: (1, 1)})
    assert tape.seen("divergence_reversal") == []


def _swings() -> Tape:
    """Highs at 110 and 112 two candles to each side; CVD falls in between."""
    tape = Tape()
    for price, buy, sell in ((100, 1, 0), (105, 9, 0), (110, 5, 0), (105, 0, 9), (101, 0, 9), (106, 1, 0), (112, 2, 0)):
        tape.minute({price: (buy, sell)})
    return tape.minute({107: (0, 1)}).minute({103: (0, 1)})


def test_a_higher_high_of_price_on_a_lower_one_of_cvd_is_a_swing_told_when_it_is_sure() -> None:
    found = _swings().seen("divergence_swing", divergence=DivergenceSettings(pivots=2))
    assert [(one.side, one.price, one.count) for one in found] == [("sell", 112, 2)]
    assert (found[0].begin, found[0].timestamp) == (MIDNIGHT + 6 * MINUTE, MIDNIGHT + 8 * MINUTE)
    assert found[0].value == 0 - 15
    assert _swings().seen("divergence_swing") == []  # three candles to each side: 110 alone turns


def test_buyers_that_die_away_toward_the_high_are_exhausted() -> None:
    rows: Rows = {100: (0, 1), 101: (50, 1), 102: (20, 1), 103: (8, 1), 104: (4, 1)}
    found = Tape().minute(rows).seen("exhaustion")
    assert [(one.side, one.price, one.low, one.size, one.value) for one in found] == [("buy", 104, 102, 4, 2.0)]
    assert not Tape().minute(rows).seen("exhaustion", exhaustion=ExhaustionSettings(percent=5))
    assert not Tape().minute(rows).seen("exhaustion", exhaustion=ExhaustionSettings(rows=5))


def test_a_candle_that_closes_far_from_its_largest_buying_absorbed_it() -> None:
    rows: Rows = {100: (1, 9), 101: (1, 0), 102: (1, 0), 103: (1, 0), 104: (30, 0)}
    found = Tape().minute(rows, closes=101).seen("absorption_candle")
    assert [(one.side, one.price, one.size) for one in found] == [("buy", 104, 30)]
    assert not Tape().minute(rows, closes=101).seen("absorption_candle", absorption=AbsorptionSettings(close=80))
    rows[103] = (40, 0)
    tape = Tape().minute(rows, closes=100)
    assert tape.seen("absorption_candle")
    assert not tape.seen("absorption_candle", absorption=AbsorptionSettings(extreme=20))


PLAIN = AbsorptionSettings(deviations=0.0, size=10.0)


def test_volume_that_does_not_move_price_for_so_long_is_absorbed() -> None:
    tape = Tape().trade(100, 6).trade(101, 6).trade(100, 1, "sell").wait(6 * SECOND)
    found = tape.seen("absorption", absorption=PLAIN)
    assert [(one.side, one.low, one.high, one.size, one.count) for one in found] == [("buy", 100, 101, 12, 2)]
    assert found[0].as_of == tape.at


def test_price_that_goes_on_was_not_absorbed() -> None:
    beyond = Tape().trade(100, 6).trade(101, 6).trade(103, 0.1, "sell").wait(6 * SECOND)
    assert beyond.seen("absorption", absorption=PLAIN) == []
    within = Tape().trade(100, 6).trade(101, 6).trade(102, 0.1, "sell").wait(6 * SECOND)
    assert within.seen("absorption", absorption=PLAIN)
    assert not within.seen("absorption", absorption=msgspec.structs.replace(PLAIN, beyond=0))


@pytest.mark.parametrize("option", [{"rows": 1}, {"size": 13.0}, {"within": 500}])
def test_every_option_of_absorption_can_tell_it_apart(option: dict[str, Any]) -> None:
    tape = Tape().trade(100, 6).trade(101, 6, after=1_000).wait(6 * SECOND)
    assert tape.seen("absorption", absorption=PLAIN)
    assert not tape.seen("absorption", absorption=msgspec.structs.replace(PLAIN, **option))


def test_absorption_may_measure_itself_by_the_deviation_of_earlier_bands() -> None:
    tape = Tape()
    for n in range(150):
        tape.trade(100 + 10 * (n % 2), 1 + n % 3 / 10, "buy", 10_000)
    tape.trade(200, 50).wait(6 * SECOND)
    found = tape.seen("absorption")
    assert [(one.low, one.size) for one in found] == [(200, 50)]
    assert 1.1 < found[0].value < 1.5  # mean and four deviations of what came before
    assert not tape.seen("absorption", absorption=AbsorptionSettings(deviations=100.0, size=60.0))


ANY = SweepSettings(quantile=0.0)


def test_one_side_through_so_many_prices_at_once_is_a_sweep() -> None:
    tape = Tape()
    for n in range(6):
        tape.trade(100 + n, 1).trade(99, 0.1, "sell", 0)
    found = tape.trade(100, 1, "buy", SECOND).seen("sweep", sweep=ANY)
    assert [(one.side, one.low, one.high, one.price, one.count, one.size) for one in found] == [
        ("buy", 100, 105, 105, 6, 6)
    ]
    assert found[0].value == sum(range(100, 106))


@pytest.mark.parametrize("option", [{"levels": 7}, {"within": 2_000}, {"notional": 700.0}, {"quantile": 0.95}])
def test_every_option_of_sweeps_can_tell_one_apart(option: dict[str, Any]) -> None:
    tape = Tape()
    for n in range(6):
        tape.trade(100 + n, 1)
    tape.wait(SECOND)
    assert tape.seen("sweep", sweep=ANY)
    assert not tape.seen("sweep", sweep=msgspec.structs.replace(ANY, **option))


def test_prints_of_one_taker_order_are_one_large_trade_across_prices() -> None:
    tape = (
        Tape().trade(100, 1, "sell").trade(100, 4).trade(101, 5, after=0).trade(102, 6, after=0).trade(102, 1, "sell")
    )
    found = tape.seen("large_trade", large_trade=LargeTradeSettings(quantile=0.0, notional=1000.0))
    assert [(one.side, one.low, one.high, one.price, one.size, one.count) for one in found] == [
        ("buy", 100, 102, 102, 15, 3)
    ]
    assert found[0].value == 400 + 505 + 612
    assert not tape.seen("large_trade", large_trade=LargeTradeSettings(quantile=0.0, notional=2000.0))


def test_prints_shortly_after_the_first_may_be_joined_to_its_order() -> None:
    tape = Tape().trade(100, 6).trade(101, 6, after=5_000).wait(SECOND)
    by_value = LargeTradeSettings(quantile=0.0, notional=1000.0)
    assert not tape.seen("large_trade", large_trade=by_value)
    found = tape.seen("large_trade", large_trade=msgspec.structs.replace(by_value, join=10_000))
    assert [(one.size, one.count) for one in found] == [(12, 2)]


@pytest.mark.parametrize("quantile", [0.99, 0.999])
def test_a_large_trade_is_one_beyond_the_quantile_of_those_before(quantile: float) -> None:
    rng, tape = random.Random(4), Tape()
    sizes = [round(rng.paretovariate(1.2), 3) for _ in range(4_000)]
    for n, size in enumerate(sizes):
        tape.trade(100, size, "buy" if n % 2 else "sell", 10_000)
    found = tape.seen("large_trade", large_trade=LargeTradeSettings(quantile=quantile))
    share = len(found) / (len(sizes) - 500)
    assert (1 - quantile) / 2.5 < share < (1 - quantile) * 1.5
    assert min(one.size for one in found) > sorted(sizes)[int(0.95 * len(sizes))]


def _loud() -> dict[str, Any]:
    """Settings under which short random streams show everything."""
    return {
        "detect": ["10s", "1m", "5m", "1d"],
        "large_trade": LargeTradeSettings(quantile=0.0, notional=60_000.0),
        "sweep": SweepSettings(quantile=0.0, levels=2, within=5 * SECOND),
        "absorption": AbsorptionSettings(deviations=0.0, size=2.0, within=2 * SECOND),
        "divergence": DivergenceSettings(pivots=1),
        "imbalance": ImbalanceSettings(ratio=110, stack=2, gaps="traded"),
        "anchors": ["2024-10-03T23:58:00"],
    }


def _again(old: Machine) -> Machine:
    """A machine that goes on from the archive of another."""
    new = Machine(**_loud())
    new.core = type(old.core)(old.config, old.core.state.spans, old.core.grids, old.archive)
    new.archive = old.archive
    new.core.recall()
    new.board = type(old.board)(new.core, old.board._writer, old.board.names)
    new.core.watch.outgoing = old.core.watch.outgoing
    return new


@trying(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(50, 900), st.booleans())
def test_cuts_copies_and_restarts_change_no_byte_of_any_key_and_no_detection(seed: int, count: int, wild: bool) -> None:
    made: list[Event] = stream(seed, count, wild=wild)
    batch, rng = messages(made, seed), random.Random(seed)
    whole, pieces = Machine(**_loud()), Machine(**_loud())
    whole.feed(batch)
    at = 0
    while at < len(batch):
        size = rng.choice([1, 2, 5, 40, 400])
        pieces.feed(batch[max(at - rng.choice([0, 0, 3]), 0) : at + size])
        pieces.board.gather(0.0)
        at += size
        if rng.random() < 0.1:
            pieces.sequence = min(at, len(batch))
            pieces.store()
            pieces = _again(pieces)
    assert whole.keys() == pieces.keys()
    seen, same = (list(map(msgspec.json.encode, m.core.watch.outgoing)) for m in (whole, pieces))
    assert seen == same


def test_each_detection_has_an_id_of_its_own_and_falls_never_behind_in_its_subject() -> None:
    machine = Machine(**_loud())
    machine.feed(messages([*stream(3, 1_500, wild=False), *stream(4, 700)], 3))
    found = machine.core.watch.outgoing
    assert {one.signal for one in found} >= set(SIGNALS) - {"absorption_candle", "cascade"}
    ids = [
        detection_message_id(d.signal, d.exchange, d.symbol, d.interval, d.timestamp, d.event, d.side, d.price)
        for d in found
    ]
    assert len(set(ids)) > 0.99 * len(ids)
    newest: dict[tuple[str, ...], int] = {}
    for one in found:
        subject = (one.signal, one.exchange, one.symbol, one.interval)
        assert one.sequence >= newest.get(subject, 0)
        newest[subject] = one.sequence


def test_the_last_detections_and_the_open_zones_are_keys() -> None:
    machine = Machine(**_loud(), detections=3)
    machine.feed(messages(stream(3, 1_500, wild=False), 3))
    keys, found = machine.keys(), machine.core.watch.outgoing
    own = [one for one in found if (one.exchange, one.symbol, one.signal) == ("one", "A-B", "sweep")]
    held = json.loads(keys[b"detections:one:A-B:sweep"])
    assert held["items"] == [json.loads(msgspec.json.encode(one)) for one in own[-3:]]
    assert held["sequence"] == own[-1].sequence
    zones = json.loads(keys[b"zones:one:A-B"])["zones"]
    opened = {
        (d.signal, d.interval, d.begin, d.side, d.low) for d in found if d.event == "opened" and d.symbol == "A-B"
    }
    closed = {
        (d.signal, d.interval, d.begin, d.side, d.low) for d in found if d.event == "closed" and d.symbol == "A-B"
    }
    assert zones
    assert {(z["signal"], z["interval"], z["from"], z["side"], z["low"]) for z in zones} <= opened - closed
