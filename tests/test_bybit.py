"""Bybit: what its messages mean, and that simulated markets come through whole."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import msgspec
import pytest

from producers._connection import Connection
from producers._decode import decode
from producers._exchange import FrameError, Options, Request, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._faults import Fault
from simulator._forced import forced
from tests.living import START_MS, Tray, live

NOW = 1_795_000_000_000_000


async def test_simulated_bybit_spot_comes_through_whole(tmp_path):
    async with live("bybit", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    await it.check_trades(lambda e: int(e.trade_id) - 2_290_000_000_000_000_000)
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(e, e.sequence * 100) for e in books], 20)
    it.check_klines(tray.of(Kline))
    assert not any(feed.breaks or feed.holes for feed in it.setup.feeds.all())


async def test_simulated_bybit_contracts_linear_and_inverse_come_through_whole(tmp_path):
    async with live("bybit_futures", tmp_path, symbols=4, rate=120.0) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0, 0], "a socket for linear, one for inverse contracts"
    assert {"BTC-USDT-PERP", "XRP-USD-XRP-PERP"} <= it.listings.keys()
    await it.check_trades(lambda e: int(e.trade_id[-12:], 16))
    it.check_books([(e, e.sequence * 100) for e in tray.of(Book)], 20)
    it.check_klines(tray.of(Kline))
    _check_funding(it)
    _check_interest(it)
    _check_liquidations(it)


async def test_a_refused_symbol_costs_the_others_of_its_request_nothing(tmp_path):
    async with live("bybit_futures", tmp_path) as it:
        names = [f"publicTrade.{native}" for native in ("BTCUSDT", "NOPEUSDT", "ETHUSDT")]
        feed = it.setup.feeds.channel("trades")["BTCUSDT"]
        tray, url = Tray(), it.connections[0].state["url"]
        connection = Connection(it.declared, it.setup, url, dict.fromkeys(names, (feed, 0.0)), tray, it.around)
        task = asyncio.create_task(connection.run())
        await it.until(START_MS + 20_000)
    await task
    assert connection.state["rejected"] == ["publicTrade.NOPEUSDT"]
    assert {e.symbol for e in tray.of(Trade)} == {"BTC-USDT-PERP", "ETH-USDT-PERP"}
    assert not tray.letters


async def test_lost_changes_and_a_dropped_connection_cost_no_book_for_good(tmp_path):
    async with live("bybit", tmp_path) as it:
        await it.until(START_MS + 10_000)
        muted = it.simulator.fault(Fault(kind="mute", exchange="bybit", channel="books", symbol="BTCUSDT", count=3))
        await it.until(START_MS + 30_000)
        dropped = it.simulator.fault(Fault(kind="drop", exchange="bybit"))
        await it.until(START_MS + 75_000)
        books = it.tray.of(Book)
    assert muted.fired == 3, "not run: nothing was lost"
    assert dropped.fired, "not run: nothing was dropped"
    assert it.setup.feeds.channel("books")["BTCUSDT"].breaks >= 1
    it.check_books([(e, e.sequence * 100) for e in books], 20)
    assert max(e.timestamp for e in books if e.symbol == "BTC-USDT") > (START_MS + 60_000) * 1_000
    assert not it.tray.letters


def _check_funding(it):
    funding = it.tray.of(Funding)
    assert len({(e.symbol, e.timestamp) for e in funding}) == len(funding) >= 8 * len(it.tapes)
    for e in funding:
        tape = it.tapes[e.symbol]
        period = derivatives.funding_hours(tape) * time.HOUR
        assert e.interval_hours * time.HOUR == period
        assert e.next_funding % period == 0
        assert abs(e.mark_price / derivatives.mark_price(tape, e.received // 1_000) - 1) < 1e-3
        assert abs(e.index_price / derivatives.index_price(tape, e.received // 1_000) - 1) < 1e-3
    changes = [e for e in funding if e.timestamp % 10_000_000]
    assert {e.symbol for e in changes} <= it.tapes.keys()
    assert any(e.timestamp > START_MS * 1_000 + 20_000_000 for e in changes), "the change of the period is told"


def _check_interest(it):
    interest = it.tray.of(OpenInterest)
    assert len({(e.symbol, e.timestamp) for e in interest}) == len(interest) >= 8 * len(it.tapes)
    for e in interest:
        tape = it.tapes[e.symbol]
        units = derivatives.open_interest(tape, e.received // 1_000) * tape.listing.step_size
        mark = derivatives.mark_price(tape, e.received // 1_000)
        assert abs((e.value if tape.listing.inverse else e.open_interest) / units - 1) < 1e-3
        assert abs(e.value / e.open_interest / mark - 1) < 1e-3


def _check_liquidations(it):
    """All of them, not one a second."""
    told = it.tray.of(Liquidation)
    assert told, "not run: nobody was liquidated"
    for symbol in {e.symbol for e in told}:
        tape, its = it.tapes[symbol], {e.liquidation_id: e for e in told if e.symbol == symbol}.values()
        first, last = min(e.timestamp for e in its) // 1_000, max(e.timestamp for e in its) // 1_000
        wanted = forced(tape, first - 1, last)
        assert len(its) == len(wanted)
        for e, order in zip(sorted(its, key=lambda e: e.timestamp), wanted, strict=True):
            size = tape.listing.step_size * order.steps
            assert abs((e.value if tape.listing.inverse else e.quantity) / size - 1) < 1e-9
            assert e.side == ("long" if order.sells else "short")
            assert e.coverage == "all"


# --- what messages mean ----------------------------------------------------------------------------------------
def feeds(exchange="bybit_futures"):
    return Feeds(directory(load(exchange), exchange))


def session(exchange="bybit_futures", shared=None, **options):
    return load(exchange).session(Setup(exchange, shared or feeds(exchange), Options(**options)))


def frame(topic, data, at_ms=NOW // 1_000, word="snapshot", **more):
    return msgspec.json.encode({"topic": topic, "type": word, "ts": at_ms, "data": data, **more})


def fill(native="BTCUSDT", **more):
    row = {"T": NOW // 1_000, "s": native, "S": "Buy", "v": "800", "p": "80000", "i": "20f43950-d8dd", "BT": False}
    return frame(f"publicTrade.{native}", [row | more])


def depth(u, bids=(), asks=(), word="delta", at_ms=NOW // 1_000):
    data = {"s": "BTCUSDT", "b": list(bids), "a": list(asks), "u": u, "seq": 1}
    return frame("orderbook.50.BTCUSDT", data, at_ms, word, cts=at_ms)


def ticker(word="snapshot", at_ms=NOW // 1_000, native="BTCUSDT", **data):
    return frame(f"tickers.{native}", {"symbol": native, **data}, at_ms, word)


def whole(**more):
    known = {"markPrice": "80000", "indexPrice": "80001", "fundingRate": "0.0001", "fundingIntervalHour": "4",
             "nextFundingTime": str(NOW // 1_000 + 600_000), "openInterest": "20", "openInterestValue": "1600000",
             "singleOpenInterest": "10.5", "singleOpenInterestValue": "840000"}  # fmt: skip
    return known | more


def test_an_inverse_contracts_size_is_dollars_and_a_linear_ones_base_units():
    (inverse,) = session().parse(fill("BTCUSD"), NOW)
    (linear,) = session().parse(fill("BTCUSDT", v="0.01"), NOW)
    assert (inverse.quantity, inverse.value) == (0.01, 800.0)
    assert (linear.quantity, linear.value) == (0.01, 800.0)


def test_a_block_trade_is_left_out_and_a_retail_improvement_is_not():
    shared = feeds()
    it = session(shared=shared)
    assert not it.parse(fill(BT=True), NOW)
    assert len(it.parse(fill(RPI=True), NOW)) == 1
    assert shared.channel("trades")["BTCUSDT"].frames == 2, "both were heard"


def test_ids_are_kept_as_given_and_never_followed():
    shared = feeds("bybit")
    it = session("bybit", shared)
    rows = [{"i": i, "T": NOW // 1_000, "p": "1", "v": "1", "S": "Sell", "s": "BTCUSDT"} for i in ("0021", "29", "5")]
    told = it.parse(frame("publicTrade.BTCUSDT", rows), NOW)
    assert [e.trade_id for e in told] == ["0021", "29", "5"]
    assert not shared.channel("trades")["BTCUSDT"].holes


def test_a_liquidated_buy_is_a_long_and_equal_ones_of_a_message_stay_apart():
    rows = [{"T": NOW // 1_000, "s": "BTCUSDT", "S": side, "v": "1", "p": "80000"} for side in ("Buy", "Buy", "Sell")]
    raw = frame("allLiquidation.BTCUSDT", rows)
    told = session().parse(raw, NOW)
    assert [e.side for e in told] == ["long", "long", "short"]
    assert len({e.liquidation_id for e in told}) == 3
    assert [e.liquidation_id for e in session().parse(raw, NOW)] == [e.liquidation_id for e in told]


def test_a_ticker_keeps_what_a_delta_does_not_say_and_a_snapshot_begins_anew():
    it = session(funding_every=1_000, open_interest_every=1_000)
    funding, interest = it.parse(ticker(**whole()), NOW)
    assert (funding.interval_hours, interest.open_interest, interest.value) == (4.0, 10.5, 840000.0)
    at = NOW // 1_000 + 10
    funding, interest = it.parse(ticker("delta", at, markPrice="80500", singleOpenInterest="11"), NOW)
    assert (funding.funding_rate, funding.mark_price, funding.index_price) == (0.0001, 80500.0, 80001.0)
    assert interest.open_interest == 11.0
    (alone,) = it.parse(ticker("snapshot", at + 10, openInterest="30"), NOW)
    assert isinstance(alone, OpenInterest)
    assert (alone.open_interest, alone.value) == (15.0, None)


def test_a_delta_of_a_ticker_nobody_has_seen_yields_nothing():
    assert not session().parse(ticker("delta", fundingRate="0.1"), NOW)


def test_open_interest_is_one_side_of_what_counts_both():
    known = whole()
    del known["singleOpenInterest"], known["singleOpenInterestValue"]
    _, interest = session().parse(ticker(**known), NOW)
    assert (interest.open_interest, interest.value) == (10.0, 800000.0)


def test_open_interest_of_an_inverse_contract_is_its_value_in_coins():
    single = {"singleOpenInterest": "8000000", "singleOpenInterestValue": "100.5"}
    _, interest = session().parse(ticker(native="BTCUSD", **whole(**single)), NOW)
    assert (interest.open_interest, interest.value) == (100.5, 8000000.0)


def test_a_change_of_the_next_funding_is_told_at_its_own_time():
    it = session()
    it.parse(ticker(**whole()), NOW)
    later = NOW // 1_000 + 7
    (told,) = it.parse(ticker("delta", later, nextFundingTime=str(NOW // 1_000 + 15_000_000)), NOW)
    assert (told.timestamp, told.next_funding) == (later * 1_000, NOW + 15_000_000_000)


def test_a_ticker_serves_only_the_channels_asked_for_and_a_dated_future_has_no_funding():
    (alone,) = session(channels=frozenset({"funding"})).parse(ticker(**whole()), NOW)
    assert isinstance(alone, Funding)
    dated = whole(fundingRate="", nextFundingTime="0")
    (interest,) = session().parse(ticker(native="BTC-26DEC26", **dated), NOW)
    assert interest.symbol == "BTC-USDC-20261226"


def test_one_subscription_serves_funding_and_open_interest():
    channels = load("bybit_futures").channels
    assert channels["funding"].topics("BTCUSDT", Options()) == channels["open_interest"].topics("BTCUSDT", Options())


def test_linear_and_inverse_contracts_go_to_their_own_sockets():
    topics = load("bybit_futures").channels["trades"].topics
    found = {native: topics(native, Options())[0].url.rpartition("/")[2] for native in
             ("BTCUSDT", "BTCPERP", "BTC-26DEC25", "BTCUSD", "BTCUSDZ25", "1000PEPEUSDT")}  # fmt: skip
    assert found == {"BTCUSDT": "linear", "BTCPERP": "linear", "BTC-26DEC25": "linear", "BTCUSD": "inverse",
                     "BTCUSDZ25": "inverse", "1000PEPEUSDT": "linear"}  # fmt: skip


def test_a_book_with_a_missing_change_is_silent_counted_and_asked_for_until_its_snapshot():
    shared = feeds()
    it = session(shared=shared)
    (first,) = it.parse(depth(7, [("100", "1")], [("101", "2")], "snapshot"), NOW)
    assert (first.sequence, first.bids, first.asks) == (7, [(100.0, 1.0)], [(101.0, 2.0)])
    at = NOW // 1_000 + 5_000
    assert not it.parse(depth(9, [("100", "5")], at_ms=at), NOW)
    assert not it.parse(depth(10, [("100", "6")], at_ms=at), NOW)
    feed = shared.channel("books")["BTCUSDT"]
    assert (it.broken, feed.breaks, feed.frames) == ({"orderbook.50.BTCUSDT"}, 1, 1)
    (again,) = it.parse(depth(11, [("100", "7")], [("101", "2")], "snapshot", at), NOW)
    assert again.bids == [(100.0, 7.0)]


def test_update_1_is_a_new_book_whatever_it_calls_itself():
    it = session()
    it.parse(depth(7, [("100", "1")], [("101", "2")], "snapshot"), NOW)
    (anew,) = it.parse(depth(1, [("90", "1")], [("91", "2")], at_ms=NOW // 1_000 + 1_000), NOW)
    assert (anew.bids, anew.asks) == ([(90.0, 1.0)], [(91.0, 2.0)])


def test_a_candle_is_told_when_it_is_confirmed_and_an_inverse_ones_columns_change_places():
    row = {"start": NOW // 60_000_000 * 60_000, "end": 0, "interval": "1", "open": "1", "close": "2", "high": "3",
           "low": "0.5", "volume": "10", "turnover": "20", "confirm": False, "timestamp": NOW // 1_000}  # fmt: skip
    assert not session().parse(frame("kline.1.BTCUSDT", [row]), NOW)
    (linear,) = session().parse(frame("kline.1.BTCUSDT", [row | {"confirm": True}]), NOW)
    (inverse,) = session().parse(frame("kline.1.BTCUSD", [row | {"confirm": True}]), NOW)
    assert (linear.interval, linear.volume, linear.value) == ("1m", 10.0, 20.0)
    assert (inverse.volume, inverse.value, inverse.trades) == (20.0, 10.0, None)


REFUSED = b'{"success":false,"ret_msg":"Invalid symbol :[publicTrade.NOPEUSDT]","conn_id":"d967","op":"subscribe"}'


def test_a_refusal_without_id_is_of_the_request_that_has_its_topic():
    it = session()
    it.subscribe(["publicTrade.BTCUSDT", "publicTrade.ETHUSDT"])
    it.subscribe(["publicTrade.SOLUSDT", "publicTrade.NOPEUSDT"])
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(REFUSED, NOW)
    assert caught.value.topics == ("publicTrade.SOLUSDT", "publicTrade.NOPEUSDT"), "one spoils all of its request"
    it.subscribe(["publicTrade.NOPEUSDT"])
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(REFUSED, NOW)
    assert (caught.value.topics, caught.value.symbol) == (("publicTrade.NOPEUSDT",), "NOPE-USDT-PERP")


def test_a_refusal_that_answers_no_request_is_a_bad_frame_and_a_second_subscription_none():
    with pytest.raises(FrameError, match="Invalid symbol"):
        session().parse(REFUSED, NOW)
    again = b'{"success":false,"ret_msg":"error:already subscribed,topic:publicTrade.BTCUSDT","op":"subscribe"}'
    assert not session().parse(again, NOW)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"success":true,"ret_msg":"pong","conn_id":"d9","req_id":"p1","op":"ping"}',
        b'{"op":"pong","args":["1675418560633"],"conn_id":"d9"}',
        b'{"success":true,"conn_id":"a","data":{"failTopics":[],"successTopics":["kline.M.BTCUSDT"]},"type":"COMMAND_RESP"}',
        b'{"topic":"liquidation.ETHUSD","data":{"symbol":"ETHUSD","side":"Sell","price":"3384.15","qty":"3655","time":1}}',
        b'{"topic":"trade.BTCUSD","data":[{"timestamp":"2019-11-06T12:50:52.000Z","symbol":"BTCUSD","side":"Buy"}]}',
        b'{"topic":"depth","event":"sub","params":{"symbol":"SAND2SUSDT"},"code":"0","msg":"Success"}',
        b'{"topic":"priceLimit.BTCUSDT","data":{"symbol":"BTCUSDT","buyLmt":"114450.00"},"ts":1750059683782}',
    ],
)  # fmt: skip
def test_answers_and_messages_of_retired_interfaces_yield_nothing(raw):
    assert not session().parse(raw, NOW)


@pytest.mark.parametrize(
    ("exchange", "native", "symbol"),
    [
        ("bybit", "BTCUSDT", "BTC-USDT"), ("bybit", "ETHBTC", "ETH-BTC"), ("bybit", "USDCUSDT", "USDC-USDT"),
        ("bybit_futures", "BTCUSDT", "BTC-USDT-PERP"), ("bybit_futures", "BTCPERP", "BTC-USDC-PERP"),
        ("bybit_futures", "BTCUSD", "BTC-USD-BTC-PERP"), ("bybit_futures", "BTCUSDZ25", "BTC-USD-BTC-20251226"),
        ("bybit_futures", "BTCUSDH26", "BTC-USD-BTC-20260327"), ("bybit_futures", "BTC-3JAN25", "BTC-USDC-20250103"),
        ("bybit_futures", "BTCUSDT-26DEC25", "BTC-USDT-20251226"),
        ("bybit_futures", "SHIB1000USDT", "1000SHIB-USDT-PERP"),
        ("bybit_futures", "1000PEPEUSDT", "1000PEPE-USDT-PERP"),
    ],
)  # fmt: skip
def test_names_are_spelled_both_ways(exchange, native, symbol):
    known = directory(load(exchange), exchange)
    assert known.of(native).symbol == symbol
    assert known.native(symbol) == native


@pytest.mark.parametrize("native", ["BTC-6JAN26-87500-C", "BTC-31FEB25", "BTCEUR", "btcusdt", ""])
def test_what_is_no_contract_has_no_contracts_name(native):
    assert load("bybit_futures").named(native) is None


def page(*listed, cursor=""):
    return msgspec.json.encode({"retCode": 0, "retMsg": "OK", "result": {"list": listed, "nextPageCursor": cursor}})


def test_instruments_tell_expiry_settlement_and_whether_they_trade():
    common = {"baseCoin": "BTC", "lotSizeFilter": {"qtyStep": "0.001"}, "priceFilter": {"tickSize": "0.10"}}
    perpetual = common | {"symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading",
                          "quoteCoin": "USDT", "settleCoin": "USDT", "deliveryTime": "0"}  # fmt: skip
    dated = common | {"symbol": "BTCUSDZ25", "contractType": "InverseFutures", "status": "Delivering",
                      "quoteCoin": "USD", "settleCoin": "BTC", "deliveryTime": "1766736000000"}  # fmt: skip
    option = {"symbol": "ETH-3JAN23-1250-P", "status": "Trading", "baseCoin": "ETH", "quoteCoin": "USD",
              "settleCoin": "USDC", "optionsType": "Put"}  # fmt: skip
    linear, inverse = load("bybit_futures").instruments(page(perpetual, dated, option))
    assert (linear.symbol, linear.tick_size, linear.quantity_step) == ("BTC-USDT-PERP", 0.1, 0.001)
    assert (inverse.symbol, inverse.inverse, inverse.status) == ("BTC-USD-BTC-20251226", True, "delivering")


def test_a_list_is_followed_page_by_page_and_a_cursor_on_the_last_one_is_not():
    following = load("bybit_futures").rest.following
    one = {"symbol": "A", "status": "Trading", "baseCoin": "A", "quoteCoin": "USDT"}
    first = Request("https://api.bybit.com/v5/market/instruments-info?category=linear&limit=1000")
    second = following(first, page(*[one] * 1_000, cursor="first%3D1"))
    assert second.url == first.url + "&cursor=first%3D1"
    assert following(second, page(*[one] * 1_000, cursor="first%3D2")).url == first.url + "&cursor=first%3D2"
    assert following(second, page(one, cursor="first%3D3")) is None


def test_an_error_body_with_status_200_is_seen():
    problem = load("bybit").rest.problem
    assert problem(b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}') == "10006 Too many visits!"
    assert problem(page()) is None
    assert problem(b"[]") == "unreadable body"


# --- recordings of real traffic --------------------------------------------------------------------------------
RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames"


def _recorded(exchange):
    folder = RECORDED / ("bybit_spot" if exchange == "bybit" else "bybit")
    if not folder.is_dir():
        pytest.skip("not run: no recorded frames beside the project")
    return folder


@pytest.mark.parametrize("exchange", ["bybit", "bybit_futures"])
def test_recorded_lines_are_events_or_nothing_and_only_refusals_are_named(exchange):
    for path in sorted(_recorded(exchange).glob("*.jsonl")):
        err = io.StringIO()
        decode(exchange, path.read_bytes().splitlines(), None, io.BytesIO(), err)
        assert all("the exchange says: Invalid" in line for line in err.getvalue().splitlines()), (path, err.getvalue())


@pytest.mark.parametrize(("exchange", "name"), [("bybit", "trade.fastmm-testnet-2026.jsonl"),
                                                ("bybit_futures", "liquidation.live-2026.jsonl")])  # fmt: skip
def test_recorded_numbers_are_those_of_the_json(exchange, name):
    lines = (_recorded(exchange) / name).read_bytes().splitlines()
    out = io.BytesIO()
    decode(exchange, lines, None, out, io.StringIO())
    rows = [row for line in lines for row in json.loads(line)["data"]]
    for told, row in zip(map(json.loads, out.getvalue().splitlines()), rows, strict=True):
        assert (told["price"], told["quantity"]) == (float(row["p"]), float(row["v"]))
        assert told["timestamp"] == row["T"] * 1_000
        if told["kind"] == "trade":
            assert (told["trade_id"], told["is_buyer_maker"]) == (row["i"], row["S"] == "Sell")
        else:
            assert told["side"] == {"Buy": "long", "Sell": "short"}[row["S"]]


def test_a_recorded_book_of_500_levels_holds_its_chain():
    lines = (_recorded("bybit_futures") / "book.nautilus-ob500.jsonl").read_bytes().splitlines()
    it = session(book_every=1_000, book_depth=500)
    told = [event for line in lines for event in it.parse(line, 0)]
    assert [book.sequence for book in told] == [json.loads(line)["data"]["u"] for line in lines]
    assert {len(side) for book in told for side in (book.bids, book.asks)} == {500}
    assert all(isinstance(book, Book) and book.bids[0][0] < book.asks[0][0] for book in told)
