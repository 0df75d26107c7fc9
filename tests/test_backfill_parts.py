"""The parts of history without servers: spans, candles made of shorter ones, revisions beyond a restart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers._aggregate import aggregate, base_of
from producers._revisions import CORRECTED_MAX, Revisions
from producers._spans import SPANS_MAX, Spans
from schemas import time
from schemas.events import Kline
from tests.producing import NOW, Sink

_SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60))


def kline(minute: int, close: float = 2.0, **more: Any) -> Kline:
    at = time.floor(NOW, time.DAY) + minute * time.MINUTE
    plain = {"open": 1.5, "high": 3.0, "low": 1.0, "close": close, "volume": 5.0, "value": 9.0, "trades": 3}
    return Kline("binance", "BTC-USDT", at, at + time.HOUR, "1m", source="ws", **{**plain, **more})


@given(st.lists(st.tuples(st.booleans(), _SPAN), max_size=30), _SPAN)
def test_spans_hold_what_a_set_of_moments_would(
    steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    spans, moments = Spans(), set[int]()
    for adds, (begin, end) in steps:
        known = set(range(begin, end)) <= moments
        if adds:
            assert spans.add(begin, end) == (not known)
            moments |= set(range(begin, end))
        else:
            spans.remove(begin, end)
            moments -= set(range(begin, end))
    pairs = list(spans)
    assert {at for begin, end in pairs for at in range(begin, end)} == moments
    assert all(end < begin for (_, end), (begin, _) in pairwise(pairs)), "some of them touch"
    missing = spans.missing(*asked)
    assert {at for begin, end in missing for at in range(begin, end)} == set(range(*asked)) - moments
    assert missing == sorted(missing, reverse=True), "newest first"
    assert list(Spans(pairs)) == pairs


def test_of_too_many_spans_the_oldest_is_forgotten() -> None:
    spans = Spans((at, at + 1) for at in range(0, 3 * SPANS_MAX, 2))
    assert len(list(spans)) == SPANS_MAX
    assert spans.last == 3 * SPANS_MAX - 1
    assert (0, 1) not in list(spans)


@pytest.mark.parametrize(
    ("interval", "base"), [("10m", "5m"), ("2m", "1m"), ("2h", "1h"), ("1w", "1d"), ("90m", "5m"), ("7s", None)]
)
def test_a_length_is_made_of_the_longest_that_fits(interval: str, base: str | None) -> None:
    assert base_of(interval, ("1m", "5m", "1h", "1d"), 1_000) == base


def test_a_length_that_a_page_does_not_reach_over_is_made_of_longer_ones_or_not_at_all() -> None:
    assert base_of("1d", ("1m", "1h"), 300) == "1h"
    assert base_of("1d", ("1m",), 300) is None


def test_a_slot_without_trades_is_no_candle_and_an_unknown_number_of_trades_stays_unknown() -> None:
    parts = [kline(0, open=1.2), kline(1, high=9.0), kline(4, close=2.5, low=0.5), kline(10, trades=None), kline(11)]
    made = aggregate(parts, "5m")
    assert [(it.timestamp // time.MINUTE % 60, it.trades) for it in made] == [(0, 9), (10, None)]
    first = made[0]
    assert (first.open, first.high, first.low, first.close, first.volume, first.value) == (
        1.2,
        9.0,
        0.5,
        2.5,
        15.0,
        27.0,
    )
    assert (first.interval, first.aggregated_from, first.source) == ("5m", "1m", "rest")


def test_corrections_are_numbered_on_after_a_restart() -> None:
    sink = Sink()
    first = Revisions(sink)  # type: ignore[arg-type]  # anything that takes events
    for close in (2.0, 2.5):
        first.add(kline(0, close))
    saved = first.news()
    assert saved is not None
    assert first.news() is None, "nothing has changed since"
    second = Revisions(sink)  # type: ignore[arg-type]
    second.recall(saved)
    for close in (2.5, 2.75):
        second.add(kline(0, close))
    closes = [(event.revision, event.close) for event in sink.events if isinstance(event, Kline)]
    assert closes == [(0, 2.0), (1, 2.5), (2, 2.75)]


def test_corrections_beyond_the_bound_are_forgotten_oldest_first() -> None:
    revisions = Revisions(Sink())  # type: ignore[arg-type]
    for minute in range(CORRECTED_MAX + 10):
        for close in (2.0, 2.5):
            revisions.add(kline(minute, close))
    saved = msgspec.json.decode(revisions.news() or b"[]")
    assert len(saved) == CORRECTED_MAX
    assert min(key[2] for key, *_ in saved) == kline(10).timestamp
