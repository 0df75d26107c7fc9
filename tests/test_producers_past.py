"""History of slow channels over REST: pages of a range, and what their rows become."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path

import msgspec
import pytest

from producers._exchange import UNREADABLE, FrameError, Options, Setup, directory, every, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Event, Kline, decode_any, encode
from tests.fuzzing import Mutator
from tests.producing import NOW

SEED, BODIES = 11, 1_000
"""Mutated answers of each."""
FIXTURES = Path(__file__).resolve().parent / "frames"
FRAMES = Path(__file__).resolve().parent.parent.parent / "shared" / "frames"
PAST = [(name, word) for name, its in every().items() for word, channel in its.channels.items() if channel.past]
recorded = pytest.mark.skipif(not FRAMES.is_dir(), reason="not run: the recorded frames are not here")


def setup_of(exchange, instruments=b"", **options):
    declared = load(exchange)
    known = directory(declared, exchange)
    if instruments:
        known.learn(declared.instruments(instruments))
    return Setup(exchange, Feeds(known), Options(**options))


def past_of(exchange, word):
    past = load(exchange).channels[word].past
    assert past is not None
    return past


def read(exchange, word, native, interval, start, end, body, setup=None, received=NOW):
    setup, past = setup or setup_of(exchange), past_of(exchange, word)
    request = past.request(native, interval, start, end, setup)
    return past.parse(body, request, received, setup)


@pytest.mark.parametrize(("exchange", "word"), PAST)
def test_a_page_of_history_becomes_what_stands_beside_it(exchange, word):
    """A fixture: what is wanted, the request, the answer in the documented format, and the events."""
    it = msgspec.json.decode((FIXTURES / exchange / f"past_{word}.json").read_bytes())
    instruments = msgspec.json.encode(it["instruments"]) if "instruments" in it else b""
    setup, past = setup_of(exchange, instruments), past_of(exchange, word)
    request = past.request(it["native"], it["interval"], it["start"], it["end"], setup)
    assert (request.url, request.body.decode()) == (it["url"], it.get("post", ""))
    events = past.parse(msgspec.json.encode(it["body"]), request, it["received"], setup)
    assert [*events] == msgspec.convert(it["expected"], list[Event])


@pytest.mark.parametrize(("exchange", "word"), PAST)
def test_pages_of_a_range_follow_each_other_without_hole_or_overlap(exchange, word):
    setup, past = setup_of(exchange), past_of(exchange, word)
    native = json.loads((FIXTURES / exchange / f"past_{word}.json").read_bytes())["native"]
    for interval in past.intervals or ("",):
        start, end, pages = 1_700_000_000_000_000, 1_700_000_000_000_000 + 400 * time.DAY, 0
        length = time.duration(interval) if interval else 0
        at = start
        while at < end and pages < 2_000:
            request = past.request(native, interval, at, end, setup)
            assert request.start == at < request.end <= end
            assert (request.symbol, request.interval) == (native, interval)
            assert request.weight > 0
            if interval:
                assert request.end - request.start <= (past.rows_max + 1) * length
            at, pages = request.end, pages + 1
        assert pages == 2_000 or at == end


@pytest.mark.parametrize("exchange", [name for name, word in PAST if word == "klines"])
def test_every_exchange_has_history_of_the_minute_the_hour_and_the_day(exchange):
    assert {"1m", "1h", "1d"} <= set(past_of(exchange, "klines").intervals)
    lengths = [time.duration(word) for word in past_of(exchange, "klines").intervals]
    assert lengths == sorted(lengths)


def binance_row(at_ms, close="10", volume="1"):
    return [at_ms, "10", "11", "9", close, volume, at_ms + 59_999, "10", 3, "0", "0", "0"]


def test_a_candle_that_forms_or_was_not_asked_for_is_not_told():
    minute = time.floor(NOW, time.MINUTE) // 1_000
    rows = [binance_row(minute + place * 60_000) for place in (-4, -3, -2, -1, 0)]
    body = json.dumps(rows[::-1]).encode()
    start, end = (minute - 180_000) * 1_000, (minute + 60_000) * 1_000
    told = read("binance", "klines", "BTCUSDT", "1m", start, end, body, received=minute * 1_000 + 30_000_000)
    assert [kline.timestamp for kline in told] == [(minute + place * 60_000) * 1_000 for place in (-3, -2, -1)]
    told = read("binance", "klines", "BTCUSDT", "1m", start, end, body, received=minute * 1_000 + 1_000_000)
    assert len(told) == 2, "the exchange's clock and ours differ: it may still be forming"


@pytest.mark.parametrize(("close", "volume"), [("NaN", "1"), ("0", "1"), ("10", "-1"), ("1e999", "1")])
def test_a_candle_of_history_that_is_not_finite_and_positive_is_refused(close, volume):
    minute = time.floor(NOW, time.MINUTE) - time.HOUR
    body = json.dumps([binance_row(minute // 1_000, close, volume)]).encode()
    with pytest.raises((FrameError, msgspec.ValidationError)):
        read("binance", "klines", "BTCUSDT", "1m", minute, minute + time.HOUR, body)


def test_of_open_interest_the_first_row_of_a_slot_is_told():
    first = time.floor(NOW - time.DAY, time.HOUR)
    rows = [
        {
            "symbol": "BTCUSDT",
            "sumOpenInterest": str(n),
            "sumOpenInterestValue": "1",
            "timestamp": first // 1_000 + n * 300_000,
        }
        for n in range(1, 15)
    ]
    setup = setup_of("binance_futures", open_interest_every=time.HOUR)
    told = read(
        "binance_futures",
        "open_interest",
        "BTCUSDT",
        "",
        first,
        first + 2 * time.HOUR,
        json.dumps(rows).encode(),
        setup,
    )
    assert [(it.timestamp, it.open_interest) for it in told] == [(first + time.HOUR, 12.0)]


# --- recordings ------------------------------------------------------------------------------------------------
def bodies(name):
    """The answers of a mock file, each with the query it was to."""
    return [(one["query"], one["response"]) for one in json.loads((FRAMES / name).read_bytes()) if one["response"]]


@recorded
def test_recorded_candles_of_binance_futures_keep_every_number():
    (_, plain), *_ = bodies("binance_usdm/rest_fapi_v1_klines.gct-mock.json")
    start, end = plain[0][0] * 1_000, plain[-1][0] * 1_000 + 1
    told = read("binance_futures", "klines", "LTCUSDT", "5m", start, end, json.dumps(plain).encode())
    assert [(k.timestamp, k.open, k.high, k.low, k.close, k.volume, k.value, k.trades) for k in told] == [
        (row[0] * 1_000, *map(float, row[1:6]), float(row[7]), row[8]) for row in plain
    ]
    assert {(k.symbol, k.interval, k.source) for k in told if isinstance(k, Kline)} == {("LTC-USDT-PERP", "5m", "rest")}


@recorded
def test_recorded_funding_of_binance_stands_at_the_minute_it_was_charged():
    plain = next(
        rows
        for query, rows in bodies("binance_usdm/rest_fapi_v1_fundingRate.gct-mock.json")
        if query == "symbol=BTCUSDT"
    )
    start, end = plain[0]["fundingTime"] * 1_000, plain[-1]["fundingTime"] * 1_000 + 1
    told = read("binance_futures", "funding", "BTCUSDT", "", start, end, json.dumps(plain).encode())
    assert [event.funding_rate for event in told] == [float(row["fundingRate"]) for row in plain]
    assert all(event.timestamp == event.next_funding and event.timestamp % time.HOUR == 0 for event in told)
    assert all(
        0 <= row["fundingTime"] * 1_000 - event.timestamp < 1_000_000 for row, event in zip(plain, told, strict=True)
    )


@recorded
def test_recorded_open_interest_of_binance_is_in_base_units_beside_its_value():
    (_, plain), *_ = bodies("binance_futures_data/rest_futures_data_openInterestHist.gct-mock.json")
    start, end = plain[0]["timestamp"] * 1_000, plain[-1]["timestamp"] * 1_000 + 1
    setup = setup_of("binance_futures")
    past = past_of("binance_futures", "open_interest")
    request = past.request("LTCUSDT", "", start, end, setup)._replace(end=end)
    told = past.parse(json.dumps(plain).encode(), request, NOW, setup)
    assert [(it.timestamp, it.open_interest, it.value) for it in told] == [
        (row["timestamp"] * 1_000, float(row["sumOpenInterest"]), float(row["sumOpenInterestValue"])) for row in plain
    ]


# --- broken answers --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("exchange", "word"), PAST)
def test_a_broken_page_is_refused_or_yields_sound_events_of_what_was_asked(exchange, word):
    it = msgspec.json.decode((FIXTURES / exchange / f"past_{word}.json").read_bytes())
    past, setup = past_of(exchange, word), setup_of(exchange)
    request = past.request(it["native"], it["interval"], it["start"], it["end"], setup)
    mutator = Mutator([msgspec.json.encode(it["body"])], SEED)
    for _ in range(BODIES):
        body = mutator.frame()
        try:
            events = past.parse(body, request, it["received"], setup)
        except UNREADABLE:
            continue
        for event in events:
            assert decode_any(encode(event)) == event, body
            assert event.symbol == it["expected"][0]["symbol"], body
            assert it["start"] - setup.options.funding_every <= event.timestamp < it["end"], body
            assert all(isfinite(v) for v in msgspec.structs.astuple(event) if isinstance(v, float)), body
