"""The simulated market: a pure function of seed, exchange, symbol and time."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import _derivatives as derivatives
from simulator._book import Book, changes
from simulator._candles import INTERVALS, aggregate_at, candle, candles, floor, following, id_at, last_trade, preceding
from simulator._market import MINUTES_A_DAY, Market
from simulator._registry import venues
from simulator._tape import (
    BUY_VALUE,
    BUY_VOLUME,
    CLOSE,
    HIGH,
    LOW,
    MINUTE_MS,
    OPEN,
    START,
    VALUE,
    VOLUME,
    Store,
    Tape,
)  # fmt: skip
from simulator._text import decimal, writer

NOW_MS = 1_795_000_030_500
DAY = NOW_MS // MINUTE_MS // MINUTES_A_DAY


def tape(exchange="binance", place=0, seed=7, symbols=40, rate=200.0):
    market = Market(seed, symbols, rate)
    venue = next(venue for venue in venues() if venue.id == exchange)
    return Tape(market, venue.listings(market)[place], Store())


async def breathe():
    return None


@pytest.mark.parametrize("exchange", ["binance", "binance_futures"])
@pytest.mark.parametrize("place", [0, 5, 39])
def test_a_bar_is_exactly_what_the_trades_of_its_minute_sum_up_to(exchange, place):
    one = tape(exchange, place)
    for minute in range(DAY * MINUTES_A_DAY, (DAY + 1) * MINUTES_A_DAY, 97):
        made = one.minute(minute)
        value, buys = made.ticks * made.steps, ~made.maker
        prices = (made.ticks[0], made.ticks.max(), made.ticks.min(), made.ticks[-1])
        sums = (made.steps.sum(), made.steps[buys].sum(), value.sum(), value[buys].sum())
        assert one.bars(DAY)[minute - DAY * MINUTES_A_DAY].tolist() == [*prices, *sums]


@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0.5, 3_000), st.integers(START, 40_000_000))
@settings(max_examples=40, deadline=None)
def test_every_minute_is_dense_ordered_positive_and_inside_itself(seed, symbols, rate, minute):
    one = tape(place=seed % symbols, seed=seed, symbols=symbols, rate=rate)
    made, following_one = one.minute(minute), one.minute(minute + 1)
    assert made.first_id + one.fills == following_one.first_id
    assert made.first_aggregate + one.aggregates == following_one.first_aggregate
    assert len(made.time) == len(made.ticks) == len(made.steps) == len(made.maker) == one.fills
    assert made.time[0] >= minute * MINUTE_MS
    assert made.time[-1] < (minute + 1) * MINUTE_MS
    assert (np.diff(made.time) >= 0).all()
    assert made.ticks.min() > 0
    assert made.steps.min() > 0


@given(st.integers(0, 10**6), st.floats(0.5, 6_000), st.integers(START, 40_000_000))
@settings(max_examples=30, deadline=None)
def test_fills_of_one_time_price_and_side_are_one_aggregate_and_no_two_aggregates_are_alike(seed, rate, minute):
    one = tape(seed=seed, symbols=3, rate=rate)
    made = one.minute(minute)
    rows = np.stack([made.time, made.ticks, made.maker])
    heads = [0, *(np.flatnonzero((np.diff(rows, axis=1) != 0).any(axis=0)) + 1).tolist()]
    assert heads == made.starts[:-1]


def test_both_sides_trade_and_a_day_holds_bursts_sweeps_and_liquidations_of_both_sides():
    one = tape("binance_futures")
    minutes = [one.minute(DAY * MINUTES_A_DAY + place) for place in range(240)]
    makers = np.concatenate([minute.maker for minute in minutes])
    assert 0.4 < makers.mean() < 0.6
    forced = np.concatenate([minute.maker[minute.forced] for minute in minutes])
    assert forced.any()
    assert not forced.all()
    same_ms = np.concatenate([np.diff(minute.time) == 0 for minute in minutes])
    assert 0.2 < same_ms.mean() < 0.9
    sizes = np.concatenate([minute.steps for minute in minutes])
    assert np.quantile(sizes, 0.999) > 20 * np.median(sizes)


def test_exchanges_agree_on_the_price_to_a_tenth_of_a_percent_but_not_on_the_trades():
    spot, futures = tape("binance"), tape("binance_futures")
    ours, theirs = spot.minute(DAY * MINUTES_A_DAY), futures.minute(DAY * MINUTES_A_DAY)
    prices = ours.ticks.mean() * spot.listing.tick_size, theirs.ticks.mean() * futures.listing.tick_size
    assert abs(prices[0] / prices[1] - 1) < 1e-3
    assert ours.time.tolist() != theirs.time.tolist()


def test_another_process_sees_the_same_market():
    script = (
        "import sys; sys.path.insert(0, 'tests')\nfrom test_simulator_market import fingerprint\nprint(fingerprint())"
    )
    others = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in "ab"]
    assert {other.stdout.strip() for other in others} == {fingerprint()}


def fingerprint():
    found = []
    for exchange in ("binance", "binance_futures"):
        one = tape(exchange, 3)
        made = one.minute(DAY * MINUTES_A_DAY + 5)
        found.append([made.time.sum(), (made.ticks * made.steps).sum(), made.maker.sum(), one.bars(DAY).sum()])
        found.append([derivatives.open_interest(one, NOW_MS), Book(one).at(NOW_MS, 5)])
    return json.dumps(found, default=int)


def test_another_seed_is_another_market():
    assert tape(seed=1).minute(DAY * 1_440).times != tape(seed=2).minute(DAY * 1_440).times


def test_minutes_do_not_depend_on_what_was_asked_before():
    one, other = tape(), tape()
    other.bars(DAY)
    list(other.minutes(DAY * 1_440, DAY * 1_440 + 20))
    assert one.minute(DAY * 1_440 + 3).rows == other.minute(DAY * 1_440 + 3).rows


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "1h", "4h", "1d"])
async def test_a_forming_candle_is_the_sum_of_the_trades_in_it_so_far(interval):
    one = tape(rate=60.0)
    open_ms = floor(interval, NOW_MS)
    [made] = await candles(one, interval, [open_ms], NOW_MS, breathe)
    volume = value = 0
    prices = []
    for _, minute in one.minutes(open_ms // MINUTE_MS, NOW_MS // MINUTE_MS):
        inside = (minute.time >= open_ms) & (minute.time <= NOW_MS)
        ticks, steps = minute.ticks[inside], minute.steps[inside]
        volume, value = volume + steps.sum(), value + (ticks * steps).sum()
        prices += ticks.tolist()
    assert (made.volume, made.value, made.high, made.low) == (volume, value, max(prices), min(prices))
    assert (made.open, made.close, made.trades) == (prices[0], prices[-1], len(prices))
    assert made.close == last_trade(one, NOW_MS)[1]


@pytest.mark.parametrize("interval", list(INTERVALS))
async def test_a_closed_candle_of_any_interval_is_the_sum_of_its_minutes(interval):
    one = tape(rate=60.0)
    open_ms = preceding(interval, floor(interval, NOW_MS))
    [made] = await candles(one, interval, [open_ms], NOW_MS, breathe)
    assert following(interval, open_ms) == floor(interval, NOW_MS) == made.close_ms
    assert (made.first_id, made.last_id) == (id_at(one, open_ms - 1) + 1, id_at(one, made.close_ms - 1))
    days = range(open_ms // 86_400_000, (made.close_ms - 1) // 86_400_000 + 1)
    bars = np.concatenate([one.bars(day) for day in days])
    first = open_ms // MINUTE_MS - days[0] * MINUTES_A_DAY
    bars = bars[first : first + (made.close_ms - open_ms) // MINUTE_MS]
    if interval != "1s":
        assert (made.open, made.close) == (bars[0, OPEN], bars[-1, CLOSE])
        assert (made.high, made.low) == (bars[:, HIGH].max(), bars[:, LOW].min())
        sums = (made.volume, made.buy_volume, made.value, made.buy_value)
        assert sums == tuple(bars.sum(axis=0)[[VOLUME, BUY_VOLUME, VALUE, BUY_VALUE]])


@pytest.mark.parametrize("place", range(4))
async def test_an_hour_of_many_small_steps_is_worth_what_its_minutes_are_worth(place):
    one = tape("kraken", place, symbols=4, rate=200.0)
    open_ms = preceding("1h", floor("1h", NOW_MS))
    [made] = await candles(one, "1h", [open_ms], NOW_MS, breathe)
    minutes = await candles(one, "1m", [open_ms + n * MINUTE_MS for n in range(60)], NOW_MS, breathe)
    assert (made.value, made.buy_value) == (sum(m.value for m in minutes), sum(m.buy_value for m in minutes))
    assert made.low <= made.value / made.volume <= made.high


async def test_a_year_of_days_and_a_month_of_minutes_are_there_at_once_and_agree():
    one = tape(symbols=100, rate=2_000.0)
    first = floor("1d", NOW_MS) - 365 * 86_400_000
    days = await candles(one, "1d", [first + day * 86_400_000 for day in range(366)], NOW_MS, breathe)
    assert len(days) == 366
    hours = await candles(one, "1h", [days[9].open_ms + hour * 3_600_000 for hour in range(24)], NOW_MS, breathe)
    assert sum(hour.value for hour in hours) == days[9].value
    assert days[9].last_id + 1 == days[10].first_id


def test_a_candle_without_trades_is_flat_at_the_last_price_and_there_is_none_of_the_future():
    one = tape(rate=0.5, place=39)
    minute = DAY * MINUTES_A_DAY
    open_ms, first = minute * MINUTE_MS, one.minute(minute).times[0]
    flat = candle(one, open_ms, open_ms + MINUTE_MS, first - 1)
    last = int(one.minute(minute - 1).ticks[-1])
    assert (flat.open, flat.high, flat.low, flat.close, flat.volume, flat.trades) == (last, last, last, last, 0, 0)
    assert candle(one, open_ms, open_ms + MINUTE_MS, first).trades > 0
    assert candle(one, open_ms, open_ms + MINUTE_MS, open_ms - 1) is None
    assert candle(one, START * MINUTE_MS - MINUTE_MS, START * MINUTE_MS, NOW_MS) is None


@given(st.integers(START * MINUTE_MS, NOW_MS))
@settings(max_examples=40, deadline=None)
def test_ids_at_a_time_count_exactly_the_trades_up_to_it(time_ms):
    one = tape(rate=30.0)
    minute = one.minute(time_ms // MINUTE_MS)
    assert id_at(one, time_ms) == minute.first_id - 1 + int((minute.time <= time_ms).sum())
    assert id_at(one, START * MINUTE_MS - 1) == aggregate_at(one, START * MINUTE_MS - 1) == 0
    heads = minute.time[minute.start[:-1]]
    assert aggregate_at(one, time_ms) == minute.first_aggregate - 1 + int((heads <= time_ms).sum())


def test_books_are_ordered_never_crossed_and_stand_where_the_last_trade_was():
    one = tape()
    book = Book(one)
    for slot in range(200):
        now = NOW_MS // 100 * 100 + slot * 100
        bids, asks = book.at(now, 50)
        assert [ticks for ticks, _ in bids] == sorted({ticks for ticks, _ in bids}, reverse=True)
        assert [ticks for ticks, _ in asks] == sorted({ticks for ticks, _ in asks})
        assert last_trade(one, now)[1] in (bids[0][0], asks[0][0])
        assert bids[0][0] < asks[0][0]
        assert min(steps for _, steps in bids + asks) > 0


def test_book_changes_lead_from_one_book_to_the_next():
    book = Book(tape())
    before, after = book.at(NOW_MS, 100)[0], book.at(NOW_MS + 5_000, 100)[0]
    state = dict(before)
    state.update(changes(before, after))
    assert {ticks: steps for ticks, steps in state.items() if steps} == dict(after)


def test_funding_settles_on_its_grid_and_names_the_settlement_until_it_is_over():
    one = tape("binance_futures")
    end = derivatives.next_funding(one, NOW_MS)
    period = derivatives.funding_hours(one) * 3_600_000
    assert end % period == 0
    assert derivatives.next_funding(one, end) == end
    assert derivatives.next_funding(one, end + 1) == end + period
    assert derivatives.predicted_rate(one, end) == derivatives.funding_rate(one, end)
    rates = [derivatives.funding_rate(one, end - place * period) for place in range(1_000)]
    assert min(rates) < 0 < max(rates)
    assert max(map(abs, rates)) < 0.01


def test_symbols_are_distinct_up_to_several_hundred():
    market = Market(1, 600, 100.0)
    for venue in venues():
        listings = venue.listings(market)
        symbols, canonical = {listing.symbol for listing in listings}, {listing.canonical for listing in listings}
        assert len(symbols) == len(canonical) == len(listings) >= 600
    assert abs(sum(coin.share for coin in market.coins) - 1) < 1e-9


@given(st.integers(0, 10**15), st.integers(1, 20), st.integers(0, 8), st.integers(0, 4))
def test_decimal_texts_are_exact(count, unit, decimals, more):
    text = writer(unit, decimals, decimals + more)(count)
    assert text == decimal(count * unit, decimals, decimals + more)
    whole, _, rest = text.partition(".")
    assert int(whole + rest) == count * unit * 10**more
    assert len(rest) == decimals + more
