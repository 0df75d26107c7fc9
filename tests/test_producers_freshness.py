"""A silent subscription is found by its own rate, and asked for with growing patience."""

from __future__ import annotations

from itertools import pairwise

from producers._exchange import directory, load
from producers._feeds import Feed, Feeds
from producers._freshness import SILENCE_S_MIN, Freshness, Watch


def _feed(native: str) -> Feed:
    return Feeds(directory(load("binance"), "binance")).channel("trades")[native]


def test_a_busy_symbol_is_stale_after_seconds_and_a_thin_one_after_its_own_longest_gaps() -> None:
    busy, thin = Watch(600.0, 0.0), Watch(600.0, 0.0)
    for second in range(1, 2_001):
        busy.check(second * 5, float(second))
        thin.check(second // 40, float(second))
    assert busy.silence_s_max == SILENCE_S_MIN
    assert 100.0 < thin.silence_s_max < 130.0


def test_a_symbol_that_was_never_busy_has_the_declared_bound() -> None:
    watch = Watch(300.0, 0.0)
    assert {watch.check(0, float(second)) for second in range(300)} == {"fresh"}
    assert watch.check(0, 300.0) == "resubscribe"


def test_a_busy_symbol_is_asked_again_and_then_worth_a_reconnect() -> None:
    watch = Watch(600.0, 0.0)
    for second in range(100):
        watch.check(second * 10, float(second))
    verdicts = [(second, watch.check(990, float(second))) for second in range(100, 130)]
    assert [verdict for verdict in verdicts if verdict[1] != "fresh"][:2] == [(105, "resubscribe"), (111, "reconnect")]


def test_a_symbol_that_stopped_trading_is_asked_ever_more_rarely() -> None:
    watch = Watch(100.0, 0.0)
    asked = [second for second in range(20_000) if watch.check(0, float(second)) == "resubscribe"]
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses == sorted(pauses)
    assert 3 < len(asked) < 12


def test_silence_means_nothing_where_it_is_normal() -> None:
    watch = Watch(0.0, 0.0)
    assert {watch.check(0, float(second)) for second in range(0, 100_000, 100)} == {"fresh"}


def test_one_silent_symbol_among_busy_ones_is_named_and_a_silent_connection_is_given_up() -> None:
    first, second = _feed("BTCUSDT"), _feed("ETHUSDT")
    freshness = Freshness({"btc": (first, 600.0), "eth": (second, 600.0)}, 0.0)
    for now in range(1, 101):
        first.frames += 10
        second.frames += 10
        assert freshness.check(float(now)) == ([], "")
    found = []
    for now in range(101, 108):
        first.frames += 10
        found += freshness.check(float(now))[0]
    assert found == ["eth"]
    assert list(freshness.silent(108.0)) == ["eth"]
    reasons = [freshness.check(float(now))[1] for now in range(108, 125)]
    assert "the whole connection is silent" in reasons
