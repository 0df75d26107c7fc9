"""Hyperliquid: what its messages mean, and that a simulated one comes through whole."""

from __future__ import annotations

import msgspec
import pytest

from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, OpenInterest
from simulator import _derivatives as derivatives
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000


def feeds():
    return Feeds(directory(load("hyperliquid"), "hyperliquid"))


def session(shared=None, **options):
    return load("hyperliquid").session(Setup("hyperliquid", shared or feeds(), Options(**options)))


def frame(channel, data):
    return msgspec.json.encode({"channel": channel, "data": data})


def fill(tid, at_ms, coin="BTC", side="B", px="92000.0", sz="0.5"):
    return {"coin": coin, "side": side, "px": px, "sz": sz, "time": at_ms, "hash": "0x0", "tid": tid}


def candle(open_ms, close, volume="2.0", interval="1m", coin="BTC"):
    return frame("candle", {"t": open_ms, "T": open_ms + 59_999, "s": coin, "i": interval, "o": "100.0", "c": close,
                            "h": "110.0", "l": "90.0", "v": volume, "n": 7})  # fmt: skip


async def test_a_simulated_hyperliquid_comes_through_whole(tmp_path):
    async with live("hyperliquid", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    await it.check_trades()
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(e, e.sequence) for e in books], 20)
    it.check_klines(tray.of(Kline))
    tapes = it.tapes
    for e in tray.of(Funding):
        assert e.interval_hours == 1.0
        assert abs(e.funding_rate) < 0.01
        assert e.next_funding % time.HOUR == 0
        assert 0 < e.next_funding - e.received <= time.HOUR
        assert abs(e.index_price / derivatives.index_price(tapes[e.symbol], e.received // 1_000) - 1) < 1e-3
    assert {e.next_funding for e in tray.of(Funding)} == {START_MS * 1_000 + 20_000_000 + n for n in (0, time.HOUR)}
    for e in tray.of(OpenInterest):
        steps = derivatives.open_interest(tapes[e.symbol], e.received // 1_000)
        assert abs(e.open_interest / (steps * tapes[e.symbol].listing.step_size) - 1) < 1e-4
        assert e.timestamp % 10_000_000 == 0
    assert len({(e.symbol, e.timestamp) for e in tray.of(OpenInterest)}) == len(tray.of(OpenInterest)) >= 18


def test_side_a_is_an_aggressor_that_sold():
    sold, bought = session().parse(frame("trades", [fill(9, NOW // 1000, side="A"), fill(3, NOW // 1000)]), NOW)
    assert (sold.is_buyer_maker, bought.is_buyer_maker) == (True, False)
    assert (sold.trade_id, sold.price, sold.quantity, sold.value) == ("9", 92000.0, 0.5, 46000.0)
    with pytest.raises(FrameError, match="side 'C'"):
        session().parse(frame("trades", [fill(9, NOW // 1000, side="C")]), NOW)


def test_history_replayed_on_reconnecting_fills_what_was_missed_and_repeats_nothing_older():
    shared = feeds()
    first, at = session(shared), NOW // 1000
    assert len(first.parse(frame("trades", [fill(5, at - 700_000), fill(1, at), fill(2, at + 10)]), NOW)) == 2
    again = session(shared)
    replay = [fill(1, at), fill(2, at + 10), fill(8, at + 10), fill(3, at + 20)]
    assert [e.trade_id for e in again.parse(frame("trades", replay), NOW)] == ["2", "8", "3"]
    late = [fill(4, at + 5)]
    assert [e.trade_id for e in again.parse(frame("trades", late), NOW)] == ["4"], "only the first message is history"
    again.subscribe(["trades|BTC"])
    assert not again.parse(frame("trades", late), NOW), "a new subscription replays once more"


def test_ids_are_not_dense_so_no_hole_is_seen_in_them():
    shared = feeds()
    session(shared).parse(frame("trades", [fill(500, NOW // 1000), fill(7, NOW // 1000)]), NOW)
    assert not shared.channel("trades")["BTC"].holes


def test_a_candle_is_told_when_the_next_one_begins_and_its_value_is_at_the_typical_price():
    it, open_ms = session(), NOW // 60_000_000 * 60_000
    assert not it.parse(candle(open_ms, "101.0", "1.0"), NOW)
    assert not it.parse(candle(open_ms, "102.0"), NOW)
    (closed,) = it.parse(candle(open_ms + 60_000, "103.0", "0.1"), NOW)
    assert (closed.timestamp, closed.close, closed.volume, closed.trades) == (open_ms * 1000, 102.0, 2.0, 7)
    assert closed.value == pytest.approx(2.0 * (110.0 + 90.0 + 102.0) / 3)
    assert not it.parse(candle(open_ms, "99.0"), NOW), "a straggler changes nothing"


def test_a_candle_whose_end_no_connection_saw_is_not_told():
    shared, open_ms = feeds(), NOW // 60_000_000 * 60_000
    session(shared).parse(candle(open_ms, "101.0"), NOW)
    again = session(shared)
    assert not again.parse(candle(open_ms + 60_000, "101.0"), NOW)
    assert len(again.parse(candle(open_ms + 120_000, "101.0"), NOW)) == 1


def test_two_connections_that_overlap_tell_a_candle_once():
    shared, open_ms = feeds(), NOW // 60_000_000 * 60_000
    old, new = session(shared), session(shared)
    told = [len(it.parse(candle(open_ms + step, "101.0"), NOW)) for step in (0, 60_000) for it in (old, new)]
    assert told == [0, 0, 1, 0]


def test_the_fast_book_that_shares_the_name_and_an_empty_book_yield_nothing():
    levels = [[{"px": "1.0", "sz": "2.0", "n": 1}], [{"px": "1.1", "sz": "3.0", "n": 1}]]
    data = {"coin": "BTC", "time": NOW // 1000, "levels": levels}
    assert not session().parse(frame("l2Book", data | {"fast": True}), NOW)
    assert not session().parse(frame("l2Book", data | {"levels": [[], []]}), NOW)
    (book,) = session().parse(frame("l2Book", data), NOW)
    assert (book.bids, book.asks, book.timestamp % time.SECOND) == ([(1.0, 2.0)], [(1.1, 3.0)], 0)


def test_a_context_without_time_takes_ours_and_serves_only_the_channels_asked_for():
    ctx = {"funding": "0.0000125", "openInterest": "2.5", "markPx": "100.0", "oraclePx": "99.0", "midPx": None}
    raw = frame("activeAssetCtx", {"coin": "BTC", "ctx": ctx})
    funding, interest = session().parse(raw, NOW)
    assert (funding.funding_rate, funding.interval_hours, funding.mark_price) == (0.0000125, 1.0, 100.0)
    assert funding.timestamp == time.floor(NOW, time.MINUTE)
    assert (interest.open_interest, interest.value) == (2.5, 250.0)
    (alone,) = session(channels=frozenset({"open_interest"})).parse(raw, NOW)
    assert isinstance(alone, OpenInterest)
    offline = session()
    assert [[e.timestamp for e in offline.parse(raw, 0)] for _ in range(2)] == [[0, 0], [0, 0]]


def test_a_refused_subscription_names_its_coin():
    text = 'Invalid subscription {"type":"candle","coin":"NOPE","interval":"1m"}'
    with pytest.raises(SubscriptionRejected) as caught:
        session().parse(frame("error", text), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("candle|NOPE|1m",), "NOPE")
    assert not session().parse(frame("error", 'Already subscribed: {"type":"trades","coin":"BTC"}'), NOW)
    with pytest.raises(FrameError, match="the exchange says: Error parsing"):
        session().parse(frame("error", "Error parsing JSON"), NOW)


@pytest.mark.parametrize("raw", [b'{"channel":"pong"}', b'{"channel":"subscriptionResponse","data":{"method":"x"}}'])
def test_answers_yield_nothing(raw):
    assert not session().parse(raw, NOW)


@pytest.mark.parametrize(
    ("coin", "symbol"),
    [("BTC", "BTC-USDC-PERP"), ("kPEPE", "1000PEPE-USDC-PERP"), ("kBONK", "1000BONK-USDC-PERP")],
)
def test_coins_are_spelled_both_ways(coin, symbol):
    known = directory(load("hyperliquid"), "hyperliquid")
    assert known.of(coin).symbol == symbol
    assert known.native(symbol) == coin


@pytest.mark.parametrize("coin", ["@107", "PURR/USDC", "xyz:TSLA"])
def test_spot_and_builder_markets_are_not_ours(coin):
    assert load("hyperliquid").named(coin) is None


def test_the_universe_gives_grids_and_delisted_coins():
    body = b'{"universe":[{"szDecimals":5,"name":"BTC","maxLeverage":40},{"szDecimals":0,"name":"kPEPE"},\
             {"szDecimals":2,"name":"OLD","isDelisted":true}]}'
    btc, pepe, old = load("hyperliquid").instruments(body)
    assert (btc.tick_size, btc.quantity_step, btc.status) == (0.1, 0.00001, "trading")
    assert (pepe.symbol, pepe.tick_size, pepe.quantity_step) == ("1000PEPE-USDC-PERP", 0.000001, 1.0)
    assert old.status == "delisted"
    contexts = b'[{"universe":[{"szDecimals":5,"name":"BTC"}]},\
                 [{"funding":"0","openInterest":"0","dayNtlVlm":"12.5","markPx":null}]]'
    assert load("hyperliquid").volumes(contexts) == {"BTC": 12.5}
