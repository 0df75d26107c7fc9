"""Coinbase Exchange: what its messages mean, and that a simulated one comes through whole."""

from __future__ import annotations

import io
import json
from math import fsum, isclose
from pathlib import Path

import msgspec
import pytest

from producers._decode import decode
from producers._exchange import FrameError, Options, Request, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Kline, Trade
from simulator._book import Book as TrueBook
from simulator._faults import Fault
from tests.fuzzing import Mutator, endured
from tests.harness import eventually
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000
DECLARED = load("coinbase")
CHANNELS = ("matches:BTC-USD", "heartbeat:BTC-USD", "level2_batch:BTC-USD")

RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames" / "coinbase_exchange"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="not run: the recorded frames are not here")


def feeds():
    return Feeds(directory(DECLARED, "coinbase"))


def session(shared=None, **options):
    return DECLARED.session(Setup("coinbase", shared or feeds(), Options(**options)))


def match(number, *, word="match", side="buy", price="100.50", size="0.25", at=NOW, product="BTC-USD"):
    return msgspec.json.encode({"type": word, "trade_id": number, "maker_order_id": "m", "taker_order_id": "t",
                                "side": side, "size": size, "price": price, "product_id": product,
                                "sequence": number * 3, "time": time.iso(at)})  # fmt: skip


def heartbeat(last, at=NOW):
    return msgspec.json.encode({"type": "heartbeat", "last_trade_id": last, "product_id": "BTC-USD", "sequence": 9,
                                "time": time.iso(at)})  # fmt: skip


def snapshot(bids, asks, **more):
    return msgspec.json.encode({"type": "snapshot", "product_id": "BTC-USD", "bids": bids, "asks": asks, **more})


def update(*changes, at=NOW, product="BTC-USD"):
    return msgspec.json.encode({"type": "l2update", "product_id": product, "changes": changes, "time": time.iso(at)})


def ids(events):
    return [event.trade_id for event in events]


async def test_a_simulated_coinbase_comes_through_whole(tmp_path):
    async with live("coinbase", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    await it.check_trades()
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(book, _moment(it, book)) for book in books], 20)
    it.check_klines(tray.of(Kline))
    assert {kline.source for kline in tray.of(Kline)} == {"rest"}


async def test_what_a_drop_cost_is_known_and_a_book_that_could_not_be_read_begins_anew(tmp_path):
    async with live("coinbase", tmp_path) as it:
        await it.until(START_MS + 15_000)
        it.simulator.fault(Fault(kind="drop", exchange="coinbase"))
        await it.until(START_MS + 40_000)
        broken = it.simulator.fault(
            Fault(kind="malformed", exchange="coinbase", channel="books", variant="truncated", count=1)
        )
        await it.until(START_MS + 85_000)

        async def whole() -> bool:
            newest = [max(book.timestamp for book in it.tray.of(Book, symbol)) for symbol in it.tapes]
            return min(newest) > START_MS * 1_000 + 75_000_000

        await eventually(whole, "every book goes on")
    assert sum(c.state["reconnects"] for c in it.connections) == len(it.connections)
    assert broken.fired == 1
    assert len(it.tray.letters) == 1
    assert sum(feed.breaks for feed in it.setup.feeds.all()) >= 1
    for symbol in it.tapes:
        feed = it.setup.feeds.channel("trades")[symbol]
        heard = {int(trade.trade_id) for trade in it.tray.of(Trade, symbol)}
        missing = set(range(min(heard), feed.expected)) - heard  # a heartbeat may name what is still to come
        assert missing == {n for first, last, *_ in feed.holes for n in range(first, last + 1)}, "holes are exact"
    it.check_books([(book, _moment(it, book)) for book in it.tray.of(Book)], 20)


def _moment(it, book):
    """The first change within the slot makes the snapshot; its best prices tell which."""
    true, listing, slot_ms = TrueBook(it.tapes[book.symbol]), it.listings[book.symbol], book.timestamp // 1_000
    for at_ms in range(slot_ms, slot_ms + 1_000, 100):
        bids, asks = true.at(at_ms, 20)
        sizes = [steps * listing.step_size for _, steps in (*bids, *asks)]
        if [quantity for _, quantity in (*book.bids, *book.asks)] == pytest.approx(sizes, rel=1e-9):
            return at_ms
    raise AssertionError(f"{book} is no book of its second")


def test_the_side_of_a_match_is_the_makers():
    sold, bought = session().parse(match(1, side="buy"), NOW) + session().parse(match(1, side="sell"), NOW)
    assert (sold.is_buyer_maker, bought.is_buyer_maker) == (True, False)
    assert (sold.symbol, sold.trade_id, sold.price, sold.quantity, sold.value) == ("BTC-USD", "1", 100.5, 0.25, 25.125)
    with pytest.raises(FrameError, match="side 'taker'"):
        session().parse(match(1, side="taker"), NOW)


def test_a_time_keeps_its_microseconds_and_loses_what_is_finer():
    raw = match(1).replace(time.iso(NOW).encode(), b"2026-09-30T02:39:59.410412345Z")
    assert session().parse(raw, NOW)[0].timestamp == time.parse("2026-09-30T02:39:59.410412Z")
    short = match(1).replace(time.iso(NOW).encode(), b"2026-09-30T02:39:59.4104Z")
    assert session().parse(short, NOW)[0].timestamp == time.parse("2026-09-30T02:39:59.410400Z")


def test_the_last_match_of_a_subscription_is_told_after_a_reconnect_only_if_it_is_news():
    shared = feeds()
    assert ids(session(shared).parse(match(7, word="last_match"), NOW)) == ["7"], "a restart may have missed it"
    assert ids(session(shared).parse(match(8), NOW)) == ["8"]
    assert not session(shared).parse(match(8, word="last_match"), NOW)
    assert ids(session(shared).parse(match(12, word="last_match"), NOW)) == ["12"]
    assert [hole[:2] for hole in shared.channel("trades")["BTC-USD"].holes] == [(9, 11)]


def test_an_old_last_match_begins_the_ids_but_is_no_new_trade():
    shared = feeds()
    old = match(7, word="last_match", at=NOW - 3_600_000_000)
    assert not session(shared).parse(old, NOW)
    assert shared.channel("trades")["BTC-USD"].expected == 8


def test_a_heartbeat_tells_of_trades_that_did_not_come_and_they_may_still_come():
    shared = feeds()
    it, feed = session(shared), shared.channel("trades")["BTC-USD"]
    it.parse(match(5), NOW)
    it.parse(heartbeat(5), NOW)
    assert not feed.holes
    it.parse(heartbeat(7), NOW)
    assert [hole[:2] for hole in feed.holes] == [(6, 7)]
    assert ids(it.parse(match(6), NOW) + it.parse(match(7), NOW)) == ["6", "7"]
    assert not feed.holes
    assert not it.broken


def test_trades_that_stay_away_while_heartbeats_count_on_have_their_topic_subscribed_anew():
    it = session()
    it.parse(match(5), NOW)
    for last in (6, 6, 9):
        assert not it.broken
        it.parse(heartbeat(last), NOW)
    assert it.broken == {"matches:BTC-USD"}


def test_a_book_begins_with_its_snapshot_and_follows_the_changes():
    it = session(book_depth=2)
    assert not it.parse(update(["buy", "99.0", "1"]), NOW), "there is no book yet"
    assert not it.parse(snapshot([["99.00", "1"], ["98", "2"], ["97", "3"]], [["101", "1"], ["102", "4"]]), NOW)
    changes = [["buy", "99.0", "0"], ["buy", "98.5", "7"], ["sell", "101.00", "0.5"]]
    (book,) = it.parse(update(*changes, at=NOW + 5), NOW)
    assert (book.timestamp, book.bids, book.asks) == (NOW, [(98.5, 7.0), (98.0, 2.0)], [(101.0, 0.5), (102.0, 4.0)])
    assert not it.parse(update(["sell", "103", "1"], at=NOW + 999_999), NOW), "the slot is filled"
    (following,) = it.parse(update(["buy", "98.5", "0"], at=NOW + 1_000_000), NOW)
    assert following.bids == [(98.0, 2.0), (97.0, 3.0)]


def test_a_change_that_cannot_be_read_costs_its_book_which_is_asked_for_anew():
    shared = feeds()
    it = session(shared)
    it.parse(snapshot([["99", "1"]], [["101", "1"]]), NOW)
    with pytest.raises(FrameError) as caught:
        it.parse(update(["buy", "99", "0.-10000"]), NOW)
    assert caught.value.kind == "book"
    assert it.broken == {CHANNELS[2]}
    assert shared.channel("books")["BTC-USD"].breaks == 1
    assert not it.parse(update(["buy", "98", "1"], at=NOW + 2_000_000), NOW), "nothing is told of a book with a hole"
    (book,) = it.parse(snapshot([["99", "1"]], [["101", "1"]], time=time.iso(NOW + 3_000_000)), NOW)
    assert book.bids == [(99.0, 1.0)]


def test_a_book_message_that_names_no_product_costs_every_book():
    it = session()
    it.parse(snapshot([["99", "1"]], [["101", "1"]]), NOW)
    it.parse(snapshot([["99", "1"]], [["101", "1"]]).replace(b"BTC", b"ETH"), NOW)
    with pytest.raises(FrameError):
        it.parse(b'{"type":"l2upd', NOW)
    assert it.broken == {"level2_batch:BTC-USD", "level2_batch:ETH-USD"}


def test_a_snapshot_without_time_waits_for_the_exchanges_clock_and_offline_has_none():
    assert not session().parse(snapshot([["99", "1"]], [["101", "1"]]), NOW)
    assert session().parse(snapshot([["99", "1"]], [["101", "1"]]), 0)[0].timestamp == 0


def test_topics_of_several_channels_are_one_request():
    asked = msgspec.json.decode(session().subscribe(["matches:BTC-USD", "matches:ETH-USD", "heartbeat:BTC-USD"]))
    channels = [{"name": "matches", "product_ids": ["BTC-USD", "ETH-USD"]},
                {"name": "heartbeat", "product_ids": ["BTC-USD"]}]  # fmt: skip
    assert asked == {"type": "subscribe", "channels": channels}


def test_one_bad_product_is_named_and_the_others_of_its_request_are_asked_for_again():
    it = session()
    it.subscribe(["matches:BTC-USD", "matches:NOPE-USD"])
    refusal = {"type": "error", "message": "Failed to subscribe", "reason": "NOPE-USD is not a valid product"}
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode(refusal), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("matches:NOPE-USD",), "NOPE-USD")
    again = msgspec.json.decode(it.replies.popleft())
    assert again["channels"] == [{"name": "matches", "product_ids": ["BTC-USD"]}]
    with pytest.raises(SubscriptionRejected):
        it.parse(msgspec.json.encode(refusal), NOW)  # answers come in the order of the requests
    with pytest.raises(FrameError, match="the exchange says"):
        it.parse(msgspec.json.encode(refusal), NOW)


def test_a_candle_row_has_low_and_high_before_open_and_close_and_only_closed_ones_are_told():
    setup, poll = Setup("coinbase", feeds(), Options(intervals=("1m", "4h"))), DECLARED.channels["klines"].poll
    minute = NOW // time.MINUTE * time.MINUTE
    (request,) = poll.requests(["BTC-USD"], setup, minute + 3_000_000)
    assert request.url.startswith("https://api.exchange.coinbase.com/products/BTC-USD/candles?granularity=60&start=")
    rows = [[minute // time.SECOND, 5, 9, 6, 7, 1], [minute // time.SECOND - 60, 90, 110.5, 100, 105.5, 2]]
    (told,) = poll.parse(msgspec.json.encode(rows), request, minute + 3_000_000, setup)
    assert (told.timestamp, told.open, told.high, told.low, told.close) == (minute - 60_000_000, 100, 110.5, 90, 105.5)
    assert (told.volume, told.trades, told.source) == (2.0, None, "rest")
    assert 180 < told.value < 221
    assert not poll.requests(["BTC-USD"], setup, minute + 30_000_000), "nothing has closed since"


def test_a_minute_without_trades_is_asked_for_until_it_is_sure_that_it_is_empty():
    setup, poll = Setup("coinbase", feeds(), Options(intervals=("1m",))), DECLARED.channels["klines"].poll
    minute = NOW // time.MINUTE * time.MINUTE
    for after_s, asked in ((3, 1), (30, 1), (59, 1)):
        requests = poll.requests(["BTC-USD"], setup, minute + after_s * time.SECOND)
        assert len(requests) == asked
        assert not poll.parse(b"[]", Request("", 1, "BTC-USD", "1m"), minute + after_s * time.SECOND, setup)
    poll.parse(b"[]", Request("", 1, "BTC-USD", "1m"), minute + 61 * time.SECOND, setup)
    assert not poll.requests(["BTC-USD"], setup, minute + 61 * time.SECOND)


def test_products_that_do_not_trade_are_not_listed_as_trading():
    product = {"id": "BTC-USD", "base_currency": "BTC", "quote_currency": "USD", "quote_increment": "0.01",
               "base_increment": "0.00000001", "status": "online", "trading_disabled": False}  # fmt: skip
    others = [{**product, "id": "OLD-USD", "base_currency": "OLD", "status": "delisted"},
              {**product, "id": "OFF-USD", "base_currency": "OFF", "trading_disabled": True},
              {**product, "id": "BAD_-USD", "base_currency": "BAD_"}]  # fmt: skip
    found = DECLARED.instruments(msgspec.json.encode([product, *others]))
    assert [(i.symbol, i.status) for i in found] == [
        ("BTC-USD", "trading"), ("OLD-USD", "delisted"), ("OFF-USD", "disabled"),
    ]  # fmt: skip
    assert (found[0].tick_size, found[0].quantity_step, found[0].kind) == (0.01, 1e-8, "spot")


def test_no_mutated_message_escapes_as_anything_but_a_bad_frame():
    good = [match(1), match(2, word="last_match"), heartbeat(4), snapshot([["99", "1"]], [["101", "1"]]),
            update(["buy", "98", "1"]), b'{"type":"subscriptions","channels":[]}',
            b'{"type":"error","message":"Failed to subscribe","reason":"X-Y is not"}']  # fmt: skip
    mutator = Mutator(good, 11)
    for _ in range(800):
        it = session()
        for raw, events in endured(it, mutator, NOW):
            assert all(isinstance(event, Trade | Book) for event in events), raw


def decoded(path):
    out, err = io.BytesIO(), io.StringIO()
    with path.open("rb") as lines:
        code = decode("coinbase", lines, None, out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@recorded
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.name)
def test_every_recorded_line_decodes_or_is_none_of_our_business(path):
    code, _, errors = decoded(path)
    if path.name == "snapshot.tardis-tests.jsonl":  # a size of 0.-10000 was really sent
        assert code == 1
        assert errors.startswith("line 2: Expected `float`")
    else:
        assert (code, errors) == (0, "")


@recorded
def test_recorded_trades_keep_every_id_sum_and_side():
    _, events, _ = decoded(RECORDED / "trade.cryptofeed-2021.jsonl")
    plain = [json.loads(line) for line in (RECORDED / "trade.cryptofeed-2021.jsonl").read_bytes().splitlines()]
    assert [(e["symbol"], e["trade_id"]) for e in events] == [(p["product_id"], str(p["trade_id"])) for p in plain]
    assert [e["timestamp"] for e in events] == [time.parse(p["time"]) for p in plain]
    assert fsum(e["quantity"] for e in events) == fsum(float(p["size"]) for p in plain)
    assert isclose(fsum(e["value"] for e in events), fsum(float(p["size"]) * float(p["price"]) for p in plain))
    tickers = map(json.loads, (RECORDED / "ticker.cryptofeed-2021.jsonl").read_bytes().splitlines())
    takers = {(t["product_id"], str(t["trade_id"])): t["side"] for t in tickers if "trade_id" in t}
    both = [(e["is_buyer_maker"], takers[key]) for e in events if (key := (e["symbol"], e["trade_id"])) in takers]
    assert both
    assert all(sold == (taker == "sell") for sold, taker in both), "the ticker names the taker"


@recorded
def test_a_recorded_book_that_never_had_a_snapshot_yields_nothing():
    assert decoded(RECORDED / "book_delta.cryptofeed-2021.jsonl") == (0, [], "")
    assert len(decoded(RECORDED / "book_snapshot.cryptofeed-2021.jsonl")[1]) == 3


@recorded
def test_recorded_products_all_have_symbols_and_sizes():
    body = (RECORDED / "rest_products.cryptofeed.json").read_bytes()
    found = DECLARED.instruments(body)
    assert len(found) == len(json.loads(body))
    assert all(i.tick_size and i.quantity_step and i.symbol == i.exchange_symbol for i in found)
