"""Kraken Futures: what its messages mean, and that a simulated one comes through whole."""

from __future__ import annotations

import io
import json
from math import fsum, isclose
from pathlib import Path

import msgspec
import pytest

from producers._decode import decode
from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._book import Book as TrueBook
from simulator._faults import Fault
from tests.fuzzing import Mutator, endured
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000
MS = NOW // 1_000
DECLARED = load("kraken_futures")

RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames" / "kraken_futures"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="not run: the recorded frames are not here")


def feeds():
    return Feeds(directory(DECLARED, "kraken_futures"))


def session(shared=None, **options):
    return DECLARED.session(Setup("kraken_futures", shared or feeds(), Options(**options)))


def fill(seq, side="buy", kind="fill", at=MS, product="PF_XBTUSD", qty=0.25, price=100.5):
    return {"feed": "trade", "product_id": product, "uid": f"uid-{seq}", "side": side, "type": kind, "seq": seq,
            "time": at, "qty": qty, "price": price}  # fmt: skip


def encoded(body):
    return msgspec.json.encode(body)


def replay(*fills, product="PF_XBTUSD"):
    return encoded({"feed": "trade_snapshot", "product_id": product, "trades": fills})


def snapshot(bids, asks, seq, at=MS, product="PF_XBTUSD"):
    sides = {name: [{"price": p, "qty": q} for p, q in side] for name, side in (("bids", bids), ("asks", asks))}
    return encoded(
        {"feed": "book_snapshot", "product_id": product, "timestamp": at, "seq": seq, "tickSize": None, **sides}
    )


def change(seq, side, price, qty, at=MS, product="PF_XBTUSD"):
    return encoded({"feed": "book", "product_id": product, "side": side, "seq": seq, "price": price, "qty": qty,
                    "timestamp": at})  # fmt: skip


def ticker(product="PF_XBTUSD", at=MS, **more):
    base = {"time": at, "product_id": product, "funding_rate": 0.03, "relative_funding_rate": 2e-05,
            "next_funding_rate_time": MS // 3_600_000 * 3_600_000 + 3_600_000, "feed": "ticker", "index": 99.5,
            "markPrice": 100.0, "openInterest": 5000.0}  # fmt: skip
    return encoded(base | more)


def names(events):
    return [event.trade_id for event in events]


async def test_a_simulated_kraken_futures_comes_through_whole(tmp_path):
    async with live("kraken_futures", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    assert not any(feed.breaks or feed.repeats for feed in it.setup.feeds.all())
    assert "ETH-USD-ETH-PERP" in it.tapes, "an inverse one is among them"
    await it.check_trades(number=_number, count_min=100)
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(book, _moment(it, book)) for book in books], 20)
    it.check_klines(tray.of(Kline))
    _check_liquidations(it, tray)
    for e in tray.of(Funding):
        ends = derivatives.next_funding(it.tapes[e.symbol], e.next_funding // 1_000)
        assert (e.interval_hours, e.next_funding) == (1.0, ends * 1_000)
        assert e.funding_rate == derivatives.funding_rate(it.tapes[e.symbol], ends)
    assert {e.next_funding for e in tray.of(Funding)} == {START_MS * 1_000 + 20_000_000 + n for n in (0, time.HOUR)}
    for e in tray.of(OpenInterest):
        tape = it.tapes[e.symbol]
        held = derivatives.open_interest(tape, e.received // 1_000) * tape.listing.step_size
        assert abs((e.value if tape.listing.inverse else e.open_interest) / held - 1) < 1e-3
        assert abs(e.value / e.open_interest / derivatives.mark_price(tape, e.received // 1_000) - 1) < 1e-3


def _number(trade):
    return int(trade.trade_id[-12:], 16)


async def test_after_a_drop_the_replay_fills_the_hole_and_a_broken_book_begins_anew(tmp_path):
    async with live("kraken_futures", tmp_path, rate=30.0) as it:
        await it.until(START_MS + 15_000)
        it.simulator.fault(Fault(kind="drop", exchange="kraken_futures"))
        await it.until(START_MS + 60_000)
        lost = it.simulator.fault(Fault(kind="mute", exchange="kraken_futures", channel="books", count=1))
        await it.until(START_MS + 110_000)
    assert sum(c.state["reconnects"] for c in it.connections) == len(it.connections)
    assert lost.fired == 1
    assert sum(feed.breaks for feed in it.setup.feeds.all()) == 1
    assert not it.tray.letters
    await it.check_trades(number=_number, count_min=60)
    books = it.tray.of(Book)
    it.check_books([(book, _moment(it, book)) for book in books], 20)
    assert all(max(b.timestamp for b in it.tray.of(Book, s)) > START_MS * 1_000 + 100_000_000 for s in it.tapes)


def _moment(it, book):
    true, listing, slot_ms = TrueBook(it.tapes[book.symbol]), it.listings[book.symbol], book.timestamp // 1_000
    for at_ms in range(slot_ms - 100, slot_ms + 1_000, 100):
        levels = [level for side in true.at(at_ms, 20) for level in side]
        prices = [ticks * listing.tick_size for ticks, _ in levels]
        sizes = [steps * listing.step_size for _, steps in levels]
        if listing.inverse:
            sizes = [size / price for size, price in zip(sizes, prices, strict=True)]
        if [quantity for _, quantity in (*book.bids, *book.asks)] == pytest.approx(sizes, rel=1e-9):
            return at_ms
    raise AssertionError(f"{book} is no book of its second")


def _check_liquidations(it, tray):
    """Every forced fill among those heard is a liquidation, on the side of the position, and a trade as well."""
    found = {(e.symbol, int(e.liquidation_id[-12:], 16)): e for e in tray.of(Liquidation)}
    wanted = {}
    for trade in tray.of(Trade):
        tape, number = it.tapes[trade.symbol], _number(trade)
        columns = tape.minute(trade.timestamp // 60_000_000)
        _, _, _, maker, forced = columns.rows[number - columns.first_id]
        if forced:
            wanted[trade.symbol, number] = "long" if maker else "short"
    assert wanted, "not run: nothing was liquidated"
    assert {key: e.side for key, e in found.items()} == wanted
    assert {e.coverage for e in found.values()} == {"all"}


def test_the_side_is_the_takers_the_id_is_the_uid_and_a_linear_contract_counts_coins():
    sold, bought = session().parse(encoded(fill(1, "sell")), NOW) + session().parse(encoded(fill(1)), NOW)
    assert (sold.is_buyer_maker, bought.is_buyer_maker) == (True, False)
    assert (sold.symbol, sold.trade_id, sold.quantity, sold.value) == ("BTC-USD-PERP", "uid-1", 0.25, 25.125)
    with pytest.raises(FrameError, match="side 'hold'"):
        session().parse(encoded(fill(1, "hold")), NOW)


def test_an_inverse_contract_counts_dollars():
    (trade,) = session().parse(encoded(fill(1, product="PI_XBTUSD", qty=5000, price=40000.0)), NOW)
    assert (trade.symbol, trade.value, trade.quantity) == ("BTC-USD-BTC-PERP", 5000.0, 0.125)


def test_a_liquidation_is_a_trade_and_closes_the_position_its_order_is_against():
    trade, liquidation = session().parse(encoded(fill(1, "sell", "liquidation")), NOW)
    assert type(trade) is Trade
    assert (liquidation.side, liquidation.liquidation_id, liquidation.coverage) == ("long", "uid-1", "all")
    assert session().parse(encoded(fill(2, "buy", "liquidation")), NOW)[1].side == "short"


def test_only_the_channels_asked_for_are_told():
    raw = encoded(fill(1, "sell", "liquidation"))
    assert [type(e) for e in session(channels=frozenset({"liquidations"})).parse(raw, NOW)] == [Liquidation]
    assert [type(e) for e in session(channels=frozenset({"trades"})).parse(raw, NOW)] == [Trade]
    assert [type(e) for e in session(channels=frozenset({"open_interest"})).parse(ticker(), NOW)] == [OpenInterest]


def test_what_never_met_the_book_is_no_trade_but_takes_its_number():
    shared = feeds()
    it = session(shared)
    it.parse(encoded(fill(1)), NOW)
    for seq, kind in enumerate(("assignment", "termination", "block"), 2):
        assert not it.parse(encoded(fill(seq, kind=kind)), NOW)
    assert names(it.parse(encoded(fill(5)), NOW)) == ["uid-5"]
    assert not shared.channel("trades")["PF_XBTUSD"].holes
    with pytest.raises(FrameError, match="type 'gift'"):
        it.parse(encoded(fill(6, kind="gift")), NOW)


def test_a_seq_left_out_is_a_hole():
    shared = feeds()
    for seq in (1, 4):
        session(shared).parse(encoded(fill(seq)), NOW)
    assert [hole[:2] for hole in shared.channel("trades")["PF_XBTUSD"].holes] == [(2, 3)]


def test_a_replay_comes_newest_first_and_tells_only_what_is_news():
    shared = feeds()
    first = replay(fill(3), fill(2, at=MS - 5), fill(1, at=MS - 3_600_000))
    assert names(session(shared).parse(first, NOW)) == ["uid-2", "uid-3"]
    again = replay(fill(6, kind="block"), fill(5, "sell", "liquidation"), fill(4), fill(3), fill(2, at=MS - 5))
    told = session(shared).parse(again, NOW)
    assert [type(e).__name__ for e in told] == ["Trade", "Trade", "Liquidation"]
    assert names(told[:2]) == ["uid-4", "uid-5"]
    assert shared.channel("trades")["PF_XBTUSD"].expected == 7


def test_an_old_recording_without_uid_is_named_by_its_seq():
    body = fill(5271, product="FI_XBTUSD_190426", qty=3, price=4088.5, at=1_554_076_802_518)
    del body["uid"]
    (trade,) = session().parse(encoded(body), 0)
    assert (trade.trade_id, trade.symbol, trade.value) == ("5271", "BTC-USD-BTC-20190426", 3.0)


def test_a_book_follows_its_seq_and_stops_where_it_breaks():
    shared = feeds()
    it = session(shared)
    (first,) = it.parse(snapshot([(99.0, 1.0), (98.0, 0.0)], [(101.0, 2.0)], 10), NOW)
    assert (first.sequence, first.bids, first.asks) == (10, [(99.0, 1.0)], [(101.0, 2.0)]), "size 0 is no level"
    assert not it.parse(change(10, "buy", 99.0, 9.0), NOW), "the snapshot knew it"
    assert not it.parse(change(11, "buy", 99.5, 3.0, at=MS + 10), NOW)
    (second,) = it.parse(change(12, "sell", 101.0, 0.0, at=MS + 1_000), NOW)
    assert (second.sequence, second.bids, second.asks) == (11, [(99.5, 3.0), (99.0, 1.0)], [(101.0, 2.0)])
    assert not it.parse(change(14, "sell", 102.0, 1.0, at=MS + 2_000), NOW)
    assert it.broken == {"book:PF_XBTUSD"}
    assert shared.channel("books")["PF_XBTUSD"].breaks == 1
    assert not it.parse(change(15, "sell", 103.0, 1.0, at=MS + 3_000), NOW)
    assert it.parse(snapshot([(99.0, 1.0)], [(101.0, 2.0)], 20, at=MS + 4_000), NOW)


def test_the_book_of_an_inverse_contract_is_told_in_coins():
    (book,) = session().parse(snapshot([(40000.0, 1000.0)], [(50000.0, 1000.0)], 1, product="PI_XBTUSD"), NOW)
    assert (book.bids, book.asks) == ([(40000.0, 0.025)], [(50000.0, 0.02)])


def test_the_rate_is_the_relative_one_and_open_interest_is_in_coins():
    funding, interest = session().parse(ticker(), NOW)
    assert (funding.funding_rate, funding.interval_hours) == (2e-05, 1.0)
    assert (funding.mark_price, funding.index_price) == (100.0, 99.5)
    assert (interest.open_interest, interest.value) == (5000.0, 500000.0)
    _, inverse = session().parse(ticker("PI_XBTUSD"), NOW)
    assert (inverse.open_interest, inverse.value) == (50.0, 5000.0)


def test_the_next_funding_time_is_not_taken_for_the_exchanges_clock():
    it = session()
    it.parse(ticker(), NOW)
    assert it.latest == NOW


def test_a_dated_future_has_no_funding():
    raw = ticker("FI_XBTUSD_261225", relative_funding_rate=None, next_funding_rate_time=None, funding_rate=None)
    assert [type(e) for e in session().parse(raw, NOW)] == [OpenInterest]
    assert not DECLARED.channels["funding"].topics("FI_XBTUSD_261225", Options())
    assert DECLARED.channels["funding"].topics("PF_XBTUSD", Options())


@pytest.mark.parametrize(("native", "symbol", "inverse", "settle"), [
    ("PF_XBTUSD", "BTC-USD-PERP", False, "USD"), ("PI_XBTUSD", "BTC-USD-BTC-PERP", True, "BTC"),
    ("FF_ETHUSD_261225", "ETH-USD-20261225", False, "USD"), ("FI_XBTUSD_261225", "BTC-USD-BTC-20261225", True, "BTC"),
    ("PV_XRPXBT", "XRP-BTC-PERP", False, "BTC"),
])  # fmt: skip
def test_names_are_read_and_written_both_ways(native, symbol, inverse, settle):
    instrument = DECLARED.named(native)
    assert (instrument.symbol, instrument.inverse, instrument.settle) == (symbol, inverse, settle)
    assert DECLARED.spelled(symbol) == native


def test_indices_and_what_does_not_trade_are_not_trading_instruments():
    contracts = [{"symbol": "PF_XBTUSD", "type": "flexible_futures", "tradeable": True, "contractSize": 1,
                  "tickSize": 1, "contractValueTradePrecision": 4},
                 {"symbol": "PF_PEPEUSD", "type": "flexible_futures", "tradeable": True, "contractSize": 1,
                  "tickSize": 1e-10, "contractValueTradePrecision": -3},
                 {"symbol": "fi_xbtusd_210730", "type": "futures_inverse", "tradeable": False, "contractSize": 1},
                 {"symbol": "in_xbtusd", "type": "spot index", "tradeable": False}]  # fmt: skip
    found = DECLARED.instruments(encoded({"result": "success", "instruments": contracts}))
    assert [(i.symbol, i.exchange_symbol, i.status, i.quantity_step) for i in found] == [
        ("BTC-USD-PERP", "PF_XBTUSD", "trading", 1e-4), ("PEPE-USD-PERP", "PF_PEPEUSD", "trading", 1000.0),
        ("BTC-USD-BTC-20210730", "FI_XBTUSD_210730", "untradeable", None),
    ]  # fmt: skip


def test_an_error_names_no_request_but_the_first_unanswered_one_is_meant():
    it = session()
    it.subscribe(["trade:PF_XBTUSD"])
    it.subscribe(["trade:PF_NOPEUSD"])
    assert not it.parse(encoded({"event": "subscribed", "feed": "trade", "product_ids": ["PF_XBTUSD"]}), NOW)
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(encoded({"event": "error", "message": "Invalid product id"}), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("trade:PF_NOPEUSD",), "NOPE-USD-PERP")
    with pytest.raises(FrameError, match="the exchange says"):
        it.parse(encoded({"event": "error", "message": "Invalid product id"}), NOW)
    assert not it.parse(encoded({"event": "alert", "message": "Already subscribed to feed, re-requesting"}), NOW)


def test_an_error_comes_with_status_200():
    assert DECLARED.rest.problem(b'{"result":"error","error":"apiLimitExceeded"}') == "apiLimitExceeded"
    assert DECLARED.rest.problem(b'{"result":"success","tickers":[]}') is None


def test_the_volume_of_an_inverse_candle_is_its_value():
    setup, poll = Setup("kraken_futures", feeds(), Options(intervals=("1m",))), DECLARED.channels["klines"].poll
    minute = NOW // time.MINUTE * time.MINUTE
    (request,) = poll.requests(["PI_XBTUSD"], setup, minute + 5_000_000)
    assert "/api/charts/v1/trade/PI_XBTUSD/1m?from=" in request.url
    row = {"time": minute // 1_000 - 60_000, "open": "40000", "high": "41000", "low": "39000", "close": "40000",
           "volume": "8000"}  # fmt: skip
    (kline,) = poll.parse(encoded({"candles": [row], "more_candles": False}), request, minute + 5_000_000, setup)
    assert (kline.value, kline.volume) == (8000.0, 0.2)


def test_no_mutated_message_escapes_as_anything_but_a_bad_frame():
    good = [encoded(fill(1)), encoded(fill(2, "sell", "liquidation")), replay(fill(3), fill(2)), ticker(),
            snapshot([(99.0, 1.0)], [(101.0, 2.0)], 10), change(11, "buy", 99.5, 3.0),
            encoded({"event": "subscribed", "feed": "trade", "product_ids": ["PF_XBTUSD"]}),
            encoded({"event": "error", "message": "Invalid product id"})]  # fmt: skip
    mutator = Mutator(good, 11)
    for _ in range(800):
        it = session()
        it.subscribe(["trade:PF_XBTUSD"])
        for raw, events in endured(it, mutator, NOW):
            assert all(isinstance(event, Trade | Book | Liquidation | Funding | OpenInterest) for event in events), raw


def decoded(path):
    out, err = io.BytesIO(), io.StringIO()
    with path.open("rb") as lines:
        code = decode("kraken_futures", lines, None, out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@recorded
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.name)
def test_every_recorded_line_decodes_or_is_none_of_our_business(path):
    code, _, errors = decoded(path)
    assert (code, errors) == (0, "")


@recorded
def test_recorded_replays_keep_every_id_and_sum_and_miss_no_seq():
    _, events, _ = decoded(RECORDED / "trade_snapshot.cryptofeed-2021.jsonl")
    lines = (RECORDED / "trade_snapshot.cryptofeed-2021.jsonl").read_bytes().splitlines()
    plain = [one for line in lines for one in reversed(json.loads(line)["trades"])]
    assert [e["trade_id"] for e in events] == [one["uid"] for one in plain]
    assert [e["is_buyer_maker"] for e in events] == [one["side"] == "sell" for one in plain]
    assert fsum(e["value"] for e in events) == fsum(one["qty"] for one in plain), "contracts are dollars"
    assert isclose(fsum(e["quantity"] for e in events), fsum(one["qty"] / one["price"] for one in plain))
    shared = feeds()
    for line in lines:
        session(shared).parse(line, 0)
    assert not any(feed.holes for feed in shared.all())


@recorded
def test_recorded_contracts_have_symbols_and_kinds():
    found = {i.exchange_symbol: i for name in ("rest_derivatives_api_v3_instruments.cryptofeed.json",
                                               "rest_futures_instruments.nautilus.json")
             for i in DECLARED.instruments((RECORDED / name).read_bytes())}  # fmt: skip
    assert found["FI_XBTUSD_210924"].symbol == "BTC-USD-BTC-20210924"
    assert (found["PI_XBTUSD"].inverse, found["PF_ETHUSD"].symbol, found["PF_AAPLxUSD"].symbol) == (
        True, "ETH-USD-PERP", "AAPLX-USD-PERP",
    )  # fmt: skip
    assert not [name for name in found if name.startswith(("IN_", "RR_"))]


@recorded
def test_recorded_books_follow_their_snapshots_and_no_other_is_told():
    shared = feeds()
    it, told, plain = session(shared, book_every=1_000, book_depth=1_000), {}, {}
    for name in ("book_snapshot.cryptofeed-2021.jsonl", "book_delta.cryptofeed-2021.jsonl"):
        for line in (RECORDED / name).read_bytes().splitlines():
            body = json.loads(line)
            product, sides = body["product_id"], plain.get(body["product_id"])
            for book in it.parse(line, 0):
                told[product] = told.get(product, 0) + 1
                for levels, side in ((book.bids, "buy"), (book.asks, "sell")):
                    known = sides[side] if sides else {lv["price"]: lv["qty"] for lv in body[f"{_PLAIN[side]}s"]}
                    assert {price: round(price * size, 4) for price, size in levels} == known
            if body["feed"] == "book_snapshot":
                plain[product] = {
                    side: {lv["price"]: lv["qty"] for lv in body[f"{word}s"]} for side, word in _PLAIN.items()
                }
            elif sides:
                sides[body["side"]].pop(body["price"], None)
                sides[body["side"]] |= {body["price"]: body["qty"]} if body["qty"] else {}
    assert told.keys() == plain.keys()
    assert max(told.values()) > 10
    assert not any(shared.channel("books")[product].breaks for product in plain)


_PLAIN = {"buy": "bid", "sell": "ask"}
