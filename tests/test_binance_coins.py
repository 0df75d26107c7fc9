"""Binance's contracts settled in their coin: counted by the contract, on hosts of their own."""

from __future__ import annotations

import io
import json
from math import isclose
from pathlib import Path

import msgspec
import pytest

from producers._decode import decode
from producers._exchange import FrameError, Options, Request, Setup, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._forced import forced
from tests.living import START_MS, live
from tests.producing import session

FRAMES = Path(__file__).resolve().parent.parent.parent / "shared" / "frames"
COINS = {"BTC-USD-BTC-PERP", "ETH-USD-ETH-PERP"}
recorded = pytest.mark.skipif(not FRAMES.is_dir(), reason="not run: the recorded frames are not here")


async def test_simulated_binance_futures_settled_in_dollars_and_in_coins_come_through_whole(tmp_path):
    async with live("binance_futures", tmp_path, rate=240.0) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert it.listings.keys() > COINS
    assert len(it.connections) == 3, "books of dollars, all else of dollars, all of coins"
    assert [c.state["reconnects"] for c in it.connections] == [0, 0, 0]
    await it.check_trades()
    it.check_books([(e, e.sequence // 10) for e in tray.of(Book)], 20)
    klines = tray.of(Kline)
    assert {e.symbol for e in klines if e.interval == "1m"} == it.listings.keys()
    it.check_klines(klines, {e.interval for e in klines})  # the hour may be over before all are connected
    for symbol in COINS:
        listing, tape = it.listings[symbol], it.tapes[symbol]
        for event in tray.of(Trade, symbol):
            assert event.value % listing.step == 0.0, "whole contracts"
            assert isclose(event.quantity * event.price, event.value, rel_tol=1e-12)
        interests = tray.of(OpenInterest, symbol)
        assert interests
        for event in interests:
            dollars = derivatives.open_interest(tape, event.timestamp // 1_000) * listing.step_size
            assert isclose(event.value, dollars, rel_tol=2e-2)
            assert isclose(
                event.open_interest * derivatives.mark_price(tape, event.timestamp // 1_000), event.value, rel_tol=1e-2
            )
        assert {event.next_funding for event in tray.of(Funding, symbol)} <= {
            derivatives.next_funding(tape, START_MS) * 1_000,
            derivatives.next_funding(tape, START_MS + 80_000) * 1_000,
        }
    _check_liquidations(it)


def _check_liquidations(it):
    """Each is the last forced order of its second, in coins, of the position's side."""
    told = [event for event in it.tray.of(Liquidation) if event.symbol in COINS]
    assert told, "not run: nobody was liquidated"
    for event in told:
        tape, at = it.tapes[event.symbol], event.timestamp // 1_000
        orders = {(order.sells, order.steps * tape.listing.step_size) for order in forced(tape, at - 1, at)}
        assert (event.side == "long", event.value) in orders
        assert isclose(event.quantity * event.price, event.value, rel_tol=1e-12)


def test_a_symbol_goes_both_ways_and_knows_the_dollars_of_its_contract():
    declared = load("binance_futures")
    for native, symbol, dollars in (
        ("BTCUSD_PERP", "BTC-USD-BTC-PERP", 100.0), ("ETHUSD_261225", "ETH-USD-ETH-20261225", 10.0),
    ):  # fmt: skip
        assert declared.spelled(symbol) == native
        found = declared.named(native)
        assert (found.symbol, found.inverse, found.contract_size) == (symbol, True, dollars)
    assert declared.named("BTCUSDT").inverse is False


def test_topics_of_coins_are_asked_for_on_their_own_host_and_of_dollars_where_they_were():
    channels, options = load("binance_futures").channels, Options()
    for word in ("trades", "liquidations", "books", "klines", "funding"):
        (coin, *_), (dollar, *_) = (channels[word].topics(native, options) for native in ("BTCUSD_PERP", "BTCUSDT"))
        assert coin.url == "wss://dstream.binance.com/stream"
        assert dollar.url.startswith("wss://fstream.binance.com/")


def test_open_interest_of_coins_waits_for_a_mark_price_and_is_told_in_coins():
    poll = load("binance_futures").channels["open_interest"].poll
    declared = load("binance_futures")
    setup = Setup("binance_futures", Feeds(directory(declared, "binance_futures")), Options())
    marks, dollars, coins = poll.requests(["BTCUSDT", "BTCUSD_PERP"], setup, 0)
    assert [r.url.partition("binance.com")[2].partition("?")[0] for r in (marks, dollars, coins)] == [
        "/dapi/v1/premiumIndex", "/fapi/v1/openInterest", "/dapi/v1/openInterest",
    ]  # fmt: skip
    now = 1_795_000_000_000
    body = msgspec.json.encode({"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "openInterest": "6784657", "time": now})
    with pytest.raises(FrameError, match="not finite and positive"):
        poll.parse(body, coins, now * 1_000, setup)
    told = [{"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "markPrice": "50000.0", "nextFundingTime": 0}]
    assert poll.parse(msgspec.json.encode(told), marks, now * 1_000, setup) == ()
    (event,) = poll.parse(body, coins, now * 1_000, setup)
    assert (event.open_interest, event.value) == (13569.314, 678465700.0)
    assert [r.symbol for r in poll.requests(["BTCUSDT"], setup, 0)] == ["BTCUSDT"], "nothing of the other host"


def test_an_aggregate_of_contracts_keeps_its_fills_and_its_dollars_to_the_cent():
    frame = {"e": "aggTrade", "E": 1, "a": 7, "s": "BTCUSD_PERP", "p": "30000.1", "q": "3", "f": 5, "l": 9,
             "T": 1_767_225_600_000, "m": True}  # fmt: skip
    (trade,) = session("binance_futures").parse(msgspec.json.encode(frame), 1_767_225_600_000_000)
    assert (trade.symbol, trade.trade_id, trade.value, trade.fills) == ("BTC-USD-BTC-PERP", "7", 300.0, 5)
    assert trade.quantity == 300.0 / 30000.1


def test_candles_of_more_than_200_days_are_asked_for_in_pieces():
    declared = load("binance_futures")
    past = declared.channels["klines"].past
    setup = Setup("binance_futures", Feeds(directory(declared, "binance_futures")), Options())
    start = 1_700_006_400_000_000
    assert past.request("BTCUSD_PERP", "1d", start, start + 999 * time.DAY, setup).end - start <= 197 * time.DAY
    assert past.request("BTCUSDT", "1d", start, start + 999 * time.DAY, setup).end - start == 999 * time.DAY


# --- recordings ------------------------------------------------------------------------------------------------
def decoded(name):
    out, err = io.BytesIO(), io.StringIO()
    path = FRAMES / "binance_coinm" / name
    code = decode("binance_futures", path.read_bytes().splitlines(), None, out, err)
    assert (code, err.getvalue()) == (0, "")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [json.loads(line) for line in out.getvalue().splitlines()], lines


@recorded
@pytest.mark.parametrize("path", sorted((FRAMES / "binance_coinm").glob("*.jsonl")), ids=lambda path: path.name)
def test_every_recorded_line_of_coins_decodes_or_is_none_of_our_business(path):
    if not path.name.startswith("rest_"):
        decoded(path.name)


@recorded
def test_recorded_contracts_are_dollars():
    events, lines = decoded("aggTrade.cryptofeed-2021.jsonl")
    for event, line in zip(events, lines, strict=True):
        it = line["data"]
        assert event["trade_id"] == str(it["a"])
        assert event["value"] == float(it["q"]) * (100.0 if it["s"].startswith("BTC") else 10.0)
        assert isclose(event["quantity"] * float(it["p"]), event["value"])
        assert event["is_buyer_maker"] == it["m"]
    (forced_, *_), _ = decoded("forceOrder.tardis-tests.jsonl")
    assert (forced_["symbol"], forced_["side"], forced_["value"]) == ("BTC-USD-BTC-20200925", "long", 300.0)


@recorded
def test_recorded_candles_of_coins_have_coins_as_their_volume():
    events, lines = decoded("kline.cryptofeed-2021.jsonl")
    closed = [line["data"]["k"] for line in lines if line["data"]["k"]["x"]]
    assert [event["volume"] for event in events] == [float(k["q"]) for k in closed]
    mock = json.loads((FRAMES / "binance_coinm" / "rest_dapi_v1_klines.gct-mock.json").read_bytes())
    rows = next(one["response"] for one in mock if isinstance(one["response"], list))
    declared = load("binance_futures")
    setup, past = (
        Setup("binance_futures", Feeds(directory(declared, "binance_futures")), Options()),
        declared.channels["klines"].past,
    )
    start = rows[0][0] * 1_000
    request = past.request("BTCUSD_PERP", "1d", start, start + len(rows) * time.DAY, setup)
    told = past.parse(json.dumps(rows).encode(), request, start + 400 * time.DAY, setup)
    assert [(k.volume, k.value) for k in told] == [(float(row[7]), float(row[5]) * 100.0) for row in rows]


@recorded
def test_the_recorded_instrument_list_of_coins_is_read():
    mock = json.loads((FRAMES / "binance_coinm" / "rest_dapi_v1_exchangeInfo.gct-mock.json").read_bytes())
    body = mock[0]["response"] if isinstance(mock, list) else mock
    declared = load("binance_futures")
    found = declared.instruments(json.dumps(body).encode())
    assert len({it.symbol for it in found}) == len(found) == len(body["symbols"])
    for it in found:
        rule = declared.named(it.exchange_symbol)
        assert (rule.symbol, rule.contract_size, rule.inverse) == (it.symbol, it.contract_size, True)
        assert declared.spelled(it.symbol) == it.exchange_symbol


@recorded
def test_a_recorded_request_of_open_interest_is_read_with_its_mark():
    body = json.loads((FRAMES / "binance_coinm" / "rest_dapi_v1_premiumIndex.gct-mock.json").read_bytes())[0][
        "response"
    ]
    declared = load("binance_futures")
    setup = Setup("binance_futures", Feeds(directory(declared, "binance_futures")), Options())
    declared.channels["open_interest"].poll.parse(json.dumps(body).encode(), Request(""), 0, setup)
    assert setup.feeds.directory.marks.keys() == {row["symbol"] for row in body}
