"""Deribit: what its messages mean, and that a simulated one comes through whole."""

from __future__ import annotations

import msgspec
import pytest

from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._deribit_streams import TRADE_ID
from simulator._tape import START
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000
AT = NOW // 1_000


def feeds():
    return Feeds(directory(load("deribit"), "deribit"))


def session(shared=None, **options):
    return load("deribit").session(Setup("deribit", shared or feeds(), Options(**options)))


def frame(channel, data):
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}
    )  # fmt: skip


def trades(*them, name="BTC-PERPETUAL"):
    return frame(f"trades.{name}.100ms", [{"instrument_name": name} | it for it in them])


def fill(sequence, price=50_000.0, amount=100.0, direction="buy", **more):
    return {"trade_seq": sequence, "trade_id": f"{sequence + 9_000}", "timestamp": AT + sequence, "price": price,
            "amount": amount, "direction": direction, "tick_direction": 0, "index_price": price} | more  # fmt: skip


async def test_a_simulated_deribit_comes_through_whole(tmp_path):
    async with live("deribit", tmp_path, rate=240.0) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
        assert [c.session.tested for c in it.simulator.hubs["deribit"].connections] == [3], "test requests unanswered"
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    assert set(it.tapes) == {"BTC-USD-BTC-PERP", "ETH-USD-ETH-PERP", "SOL-USDC-PERP"}
    await it.check_trades(lambda e: int(e.trade_id) - TRADE_ID)
    assert not [feed.holes for feed in it.setup.feeds.all() if feed.holes]
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(e, e.sequence // 10) for e in books], 20)
    it.check_klines(tray.of(Kline))
    for e in tray.of(Funding):
        assert (e.interval_hours, e.next_funding) == (8.0, None)
        assert abs(e.index_price / derivatives.index_price(it.tapes[e.symbol], e.received // 1_000) - 1) < 1e-3
        assert abs(e.funding_rate - derivatives.predicted_rate(it.tapes[e.symbol], e.received // 1_000)) < 1e-4
    for e in tray.of(OpenInterest):
        listing = it.listings[e.symbol]
        held = derivatives.open_interest(it.tapes[e.symbol], e.received // 1_000) * listing.step_size
        assert abs((e.value if listing.inverse else e.open_interest) / held - 1) < 1e-4
        assert e.value / e.open_interest == pytest.approx(listing.coin.price, rel=0.5), "not base units"
    assert len(tray.of(Funding)) >= 24
    assert len(tray.of(OpenInterest)) >= 24


async def test_forced_trades_of_the_simulated_market_are_liquidations_of_the_right_side(tmp_path):
    async with live("deribit", tmp_path, rate=600.0) as it:
        await it.until(START_MS + 60_000)
        found = {e.liquidation_id: e for e in it.tray.of(Liquidation)}
        heard = it.tray.of(Trade)
    wanted = {}
    for e in heard:
        tape, sequence = it.tapes[e.symbol], int(e.trade_id) - TRADE_ID
        columns = tape.minute(START + (sequence - 1) // tape.fills)
        forced = columns.rows[sequence - columns.first_id][4]
        for who in ("T", "T", "M", "MT")[sequence % 4] if forced else "":
            side = "long" if e.is_buyer_maker == (who == "T") else "short"
            wanted[f"{e.trade_id}-{who}"] = (side, e.price, e.quantity, e.value, e.timestamp, "all")
    assert wanted, "not run: no forced trade"
    assert {
        name: (e.side, e.price, e.quantity, e.value, e.timestamp, e.coverage) for name, e in found.items()
    } == wanted


def test_the_amount_of_an_inverse_contract_is_dollars_and_of_a_linear_one_coins():
    (inverse,) = session().parse(trades(fill(1, 50_000.0, 100.0)), NOW)
    assert (inverse.symbol, inverse.quantity, inverse.value) == ("BTC-USD-BTC-PERP", 0.002, 100.0)
    (linear,) = session().parse(trades(fill(1, 50_000.0, 0.5), name="BTC_USDC-PERPETUAL"), NOW)
    assert (linear.symbol, linear.quantity, linear.value) == ("BTC-USDC-PERP", 0.5, 25_000.0)


@pytest.mark.parametrize(
    ("flag", "direction", "sides"),
    [("T", "sell", ["long"]), ("T", "buy", ["short"]), ("M", "sell", ["short"]), ("M", "buy", ["long"]),
     ("MT", "sell", ["short", "long"]), ("none", "buy", [])],
)  # fmt: skip
def test_the_flag_says_which_side_of_a_trade_was_liquidated(flag, direction, sides):
    trade, *forced = session().parse(trades(fill(7, direction=direction, liquidation=flag)), NOW)
    assert isinstance(trade, Trade)
    assert [(e.side, e.coverage, e.quantity, e.value) for e in forced] == [(s, "all", 0.002, 100.0) for s in sides]
    assert len({e.liquidation_id for e in forced}) == len(forced)


def test_only_the_channels_asked_for_come_out_of_a_shared_topic():
    raw = trades(fill(7, liquidation="T"))
    assert [type(e) for e in session(channels=frozenset({"trades"})).parse(raw, NOW)] == [Trade]
    assert [type(e) for e in session(channels=frozenset({"liquidations"})).parse(raw, NOW)] == [Liquidation]


def test_blocks_and_legs_of_combos_take_a_number_but_are_no_trades_of_the_book():
    shared = feeds()
    it = session(shared)
    raw = trades(fill(1), fill(2, block_trade_id="BLOCK-1"), fill(3, combo_id="BTC-FS-25DEC26_PERP"), fill(4))
    assert [e.trade_id for e in it.parse(raw, NOW)] == ["9001", "9004"]
    assert not shared.channel("trades")["BTC-PERPETUAL"].holes
    it.parse(trades(fill(8)), NOW)
    (hole,) = shared.channel("trades")["BTC-PERPETUAL"].holes
    assert hole[:2] == (5, 7)


@pytest.mark.parametrize("name", ["BTC-27MAY26-90000-C", "XRP_USDC-5JUN26-0d55-P", "BTC-CS-19MAY26-70000_75000",
                                  "BTC-FS-19MAY26_PERP"])  # fmt: skip
def test_options_and_combos_yield_nothing_and_are_no_error(name):
    assert not session().parse(trades(fill(1), name=name), NOW)
    ticker = {"instrument_name": name, "timestamp": AT, "mark_price": 0.01, "open_interest": 5.0}
    assert not session().parse(frame(f"ticker.{name}.agg2", ticker), NOW)


def test_a_name_that_follows_no_rule_is_a_bad_frame():
    with pytest.raises(FrameError, match="unknown symbol"):
        session().parse(trades(fill(1), name="<script>"), NOW)


def test_a_book_that_comes_as_changes_yields_nothing():
    levels = {"bids": [["new", 1.0, 10.0]], "asks": []}
    data = {"type": "change", "timestamp": AT, "instrument_name": "BTC-PERPETUAL", "change_id": 2} | levels
    assert not session().parse(frame("book.BTC-PERPETUAL.100ms", data), NOW)


def test_levels_of_an_inverse_book_are_coins():
    data = {"timestamp": AT, "instrument_name": "BTC-PERPETUAL", "change_id": 77,
            "bids": [[50_000.0, 100.0]], "asks": [[50_000.5, 10.0]]}  # fmt: skip
    (book,) = session().parse(frame("book.BTC-PERPETUAL.none.20.100ms", data), NOW)
    assert (book.bids, book.sequence) == ([(50_000.0, 0.002)], 77)


def test_a_future_has_open_interest_but_no_funding():
    data = {"instrument_name": "BTC-25DEC26", "timestamp": AT, "mark_price": 50_000.0, "open_interest": 1_000_000.0}
    (interest,) = session().parse(frame("ticker.BTC-25DEC26.agg2", data), NOW)
    assert (interest.symbol, interest.open_interest, interest.value) == ("BTC-USD-BTC-20261225", 20.0, 1_000_000.0)


def test_a_candle_is_told_when_the_next_begins_with_coins_and_dollars():
    it, tick = session(), AT // 60_000 * 60_000

    def bar(at, close, cost=500.0, resolution="1"):
        data = {"tick": at, "open": 50_000.0, "high": 51_000.0, "low": 49_000.0, "close": close, "volume": 0.01,
                "cost": cost}  # fmt: skip
        return frame(f"chart.trades.BTC-PERPETUAL.{resolution}", data)

    assert not it.parse(bar(tick, 50_001.0, 400.0), NOW)
    assert not it.parse(bar(tick, 50_002.0), NOW)
    (closed,) = it.parse(bar(tick + 60_000, 50_000.0), NOW)
    assert (closed.close, closed.volume, closed.value, closed.trades, closed.interval) == (
        50_002.0,
        0.01,
        500.0,
        None,
        "1m",
    )
    eight = AT // 86_400_000 * 86_400_000 - 16 * 3_600_000
    assert not it.parse(bar(eight, 50_000.0, resolution="1D"), NOW)
    assert not it.parse(bar(eight + 86_400_000, 50_000.0, resolution="1D"), NOW), "such a day is not a UTC day"


def test_it_asks_for_heartbeats_and_answers_test_requests():
    it = session()
    (asked,) = map(msgspec.json.decode, it.replies)
    assert (asked["method"], asked["params"]) == ("public/set_heartbeat", {"interval": 30})
    it.replies.clear()
    assert not it.parse(b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}', NOW)
    assert not it.replies
    assert not it.parse(b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}', NOW)
    assert [msgspec.json.decode(reply)["method"] for reply in it.replies] == ["public/test"]


def test_topics_passed_over_in_an_answer_are_refused():
    it = session()
    request = msgspec.json.decode(it.subscribe(["trades.NOPE.100ms", "trades.BTC-PERPETUAL.100ms"]))
    answer = {"jsonrpc": "2.0", "id": request["id"], "result": ["trades.BTC-PERPETUAL.100ms"]}
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode(answer), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("trades.NOPE.100ms",), "NOPE")
    assert not it.parse(msgspec.json.encode(answer), NOW), "an answer counts once"


def test_topics_it_had_no_time_for_are_asked_for_again():
    it = session()
    request = msgspec.json.decode(it.subscribe(["chart.trades.BTC-PERPETUAL.1"]))
    error = {"code": 10028, "message": "too_many_requests", "data": None}
    assert not it.parse(msgspec.json.encode({"jsonrpc": "2.0", "id": request["id"], "error": error}), NOW)
    assert it.broken == {"chart.trades.BTC-PERPETUAL.1"}
    request = msgspec.json.decode(it.subscribe(["chart.trades.BTC-PERPETUAL.1"]))
    with pytest.raises(SubscriptionRejected, match="11050 bad_request: BTC-PERPETUAL"):
        it.parse(msgspec.json.encode({"id": request["id"], "error": {"code": 11050, "message": "bad_request"}}), NOW)
    with pytest.raises(FrameError, match="the exchange says: 10028"):
        it.parse(msgspec.json.encode({"id": 999, "error": error}), NOW)


@pytest.mark.parametrize(
    ("native", "symbol", "kind", "inverse"),
    [
        ("BTC-PERPETUAL", "BTC-USD-BTC-PERP", "perpetual", True),
        ("BTC_USDC-PERPETUAL", "BTC-USDC-PERP", "perpetual", False),
        ("ETH-6NOV26", "ETH-USD-ETH-20261106", "future", True),
        ("ETH_USDC-25DEC26", "ETH-USDC-20261225", "future", False),
        ("BTC_USDC", "BTC-USDC", "spot", False),
    ],
)
def test_names_are_spelled_both_ways(native, symbol, kind, inverse):
    known = directory(load("deribit"), "deribit")
    instrument = known.of(native)
    assert (instrument.symbol, instrument.kind, instrument.inverse) == (symbol, kind, inverse)
    assert known.native(symbol) == native


def test_the_list_keeps_futures_and_spot_and_leaves_options_out():
    base = {"base_currency": "BTC", "tick_size": 0.5, "contract_size": 10.0, "is_active": True}
    listed = [
        base | {"instrument_name": "BTC-PERPETUAL", "kind": "future", "quote_currency": "USD"},
        base | {"instrument_name": "BTC_USDC-PERPETUAL", "kind": "future", "quote_currency": "USDC",
                "contract_size": 0.0001, "is_active": False},
        base | {"instrument_name": "BTC-27MAY26-90000-C", "kind": "option", "quote_currency": "BTC"},
        base | {"instrument_name": "BTC-FS-25DEC26_PERP", "kind": "future_combo", "quote_currency": "USD"},
    ]  # fmt: skip
    inverse, linear = load("deribit").instruments(msgspec.json.encode({"jsonrpc": "2.0", "result": listed}))
    assert (inverse.inverse, inverse.tick_size, inverse.quantity_step, inverse.contract_size) == (True, 0.5, None, 1.0)
    assert (linear.inverse, linear.quantity_step, linear.status) == (False, 0.0001, "inactive")


def test_an_error_in_an_answer_is_recognised_whatever_its_status():
    problem = load("deribit").rest.problem
    assert problem(b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"},"usIn":1}') is not None
    assert problem(b'{"jsonrpc":"2.0","result":[]}') is None


def test_polled_slots_carry_the_exchanges_time():
    data = {"instrument_name": "BTC-PERPETUAL", "timestamp": AT, "mark_price": 50_000.0, "open_interest": 10.0,
            "current_funding": 0.0001, "index_price": 49_999.0, "funding_8h": 0.0}  # fmt: skip
    it = session()
    funding, _ = it.parse(frame("ticker.BTC-PERPETUAL.agg2", data), NOW)
    assert (funding.timestamp, funding.funding_rate) == (time.floor(NOW, time.MINUTE), 0.0001)
    assert not it.parse(frame("ticker.BTC-PERPETUAL.agg2", data | {"timestamp": AT + 1_000}), NOW)
