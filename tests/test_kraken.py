"""Kraken spot v2: what its messages mean, and that a simulated one comes through whole."""

from __future__ import annotations

import io
import json
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from producers._decode import decode
from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Kline, Trade
from schemas.instruments import Instrument
from simulator._book import Book as TrueBook
from simulator._faults import Fault
from tests.fuzzing import Mutator, endured
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000
DECLARED = load("kraken")

RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames" / "kraken"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="not run: the recorded frames are not here")


def feeds():
    return Feeds(directory(DECLARED, "kraken"))


def session(shared=None, **options):
    return DECLARED.session(Setup("kraken", shared or feeds(), Options(**options)))


def fill(number, side="buy", at=NOW, symbol="BTC/USD", price=100.5, qty=0.25):
    return {"symbol": symbol, "side": side, "price": price, "qty": qty, "ord_type": "market", "trade_id": number,
            "timestamp": time.iso(at)}  # fmt: skip


def trades(*fills, word="update"):
    return msgspec.json.encode({"channel": "trade", "type": word, "data": fills})


def levels(*pairs):
    return ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in pairs)


def book(bids, asks, checksum, word="update", at=NOW):
    data = f'"bids":[{levels(*bids)}],"asks":[{levels(*asks)}],"checksum":{checksum},"timestamp":"{time.iso(at)}"'
    return f'{{"channel":"book","type":"{word}","data":[{{"symbol":"BTC/USD",{data}}}]}}'.encode()


def checksum(bids, asks):
    """As documented: digits of the best ten, asks first, no point, no leading zeros."""
    texts = (text for level in (*asks[:10], *bids[:10]) for text in level)
    return crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())


def candle(open_at, close, *, interval=1, volume=2.0):
    return {"symbol": "BTC/USD", "open": 100.0, "high": 110.0, "low": 90.0, "close": close, "trades": 7,
            "volume": volume, "vwap": 101.0, "interval_begin": time.iso(open_at)[:-1] + "000Z", "interval": interval,
            "timestamp": time.iso(open_at + interval * time.MINUTE)}  # fmt: skip


def ohlc(*candles, word="update"):
    return msgspec.json.encode({"channel": "ohlc", "type": word, "timestamp": time.iso(NOW), "data": candles})


def ids(events):
    return [event.trade_id for event in events]


async def test_a_simulated_kraken_comes_through_whole(tmp_path):
    async with live("kraken", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0]
    assert [feed.breaks for feed in it.setup.feeds.all()] == [0] * len(list(it.setup.feeds.all()))
    await it.check_trades(count_min=60)
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(book, _moment(it, book)) for book in books], 20)
    it.check_klines(tray.of(Kline))
    for kline in tray.of(Kline):
        assert kline.low <= kline.value / kline.volume <= kline.high


async def test_after_a_drop_the_replay_fills_the_hole_and_a_broken_book_begins_anew(tmp_path):
    async with live("kraken", tmp_path, rate=30.0) as it:
        await it.until(START_MS + 15_000)
        it.simulator.fault(Fault(kind="drop", exchange="kraken"))
        await it.until(START_MS + 60_000)
        lost = it.simulator.fault(Fault(kind="mute", exchange="kraken", channel="books", symbol="BTC/USD", count=20))
        await it.until(START_MS + 110_000)
    assert sum(c.state["reconnects"] for c in it.connections) == len(it.connections)
    assert lost.fired == 20
    assert sum(feed.breaks for feed in it.setup.feeds.all()) == 1
    assert not it.tray.letters
    await it.check_trades(count_min=60)
    books = it.tray.of(Book)
    it.check_books([(book, _moment(it, book)) for book in books], 20)
    assert all(max(b.timestamp for b in it.tray.of(Book, s)) > START_MS * 1_000 + 100_000_000 for s in it.tapes)


def _moment(it, book):
    true, listing, slot_ms = TrueBook(it.tapes[book.symbol]), it.listings[book.symbol], book.timestamp // 1_000
    for at_ms in range(slot_ms, slot_ms + 1_000, 100):
        sizes = [steps * listing.step_size for side in true.at(at_ms, 20) for _, steps in side]
        if [quantity for _, quantity in (*book.bids, *book.asks)] == pytest.approx(sizes, rel=1e-9):
            return at_ms
    raise AssertionError(f"{book} is no book of its second")


def test_the_side_is_the_takers_and_times_keep_their_microseconds():
    sold, bought = session().parse(trades(fill(1, "sell", NOW + 7), fill(2, "buy")), NOW)
    assert (sold.is_buyer_maker, bought.is_buyer_maker) == (True, False)
    assert (sold.symbol, sold.trade_id, sold.timestamp, sold.value) == ("BTC-USD", "1", NOW + 7, 25.125)
    with pytest.raises(FrameError, match="side 'b'"):
        session().parse(trades(fill(1, "b")), NOW)


def test_a_replay_tells_at_a_start_the_last_minutes_and_after_a_reconnect_what_was_missed():
    shared = feeds()
    replay = trades(fill(2, at=NOW - 5), fill(1, at=NOW - 3_600_000_000), fill(3), word="snapshot")
    assert ids(session(shared).parse(replay, NOW)) == ["2", "3"]
    again = trades(fill(2, at=NOW - 5), fill(3), fill(4), fill(5), word="snapshot")
    assert ids(session(shared).parse(again, NOW)) == ["4", "5"]
    assert not shared.channel("trades")["BTC/USD"].holes


def test_pair_names_of_rest_are_spelled_as_the_socket_wants_them():
    pairs = {"XXBTZUSD": {"wsname": "XBT/USD", "pair_decimals": 1, "lot_decimals": 8, "tick_size": "0.1"},
             "XDGUSD": {"wsname": "XDG/USD", "pair_decimals": 7, "lot_decimals": 8},
             "AAPLxUSD": {"wsname": "AAPLx/USD", "pair_decimals": 2, "lot_decimals": 8, "status": "cancel_only"},
             "XETHXXBT.d": {"altname": "ETHXBT.d", "pair_decimals": 5}}  # fmt: skip
    found = DECLARED.instruments(msgspec.json.encode({"error": [], "result": pairs}))
    assert [(i.symbol, i.exchange_symbol, i.status) for i in found] == [
        ("BTC-USD", "BTC/USD", "trading"),
        ("DOGE-USD", "DOGE/USD", "trading"),
        ("AAPLX-USD", "AAPLx/USD", "cancel_only"),
    ]  # fmt: skip
    assert (found[0].tick_size, found[1].tick_size, found[1].quantity_step) == (0.1, 1e-7, 1e-8)
    assert directory(DECLARED, "kraken").native("BTC-USD") == "BTC/USD"


def test_volumes_come_under_the_old_names_of_pairs():
    entry = {"v": ["1", "2"], "p": ["10", "20"]}
    body = msgspec.json.encode({"error": [], "result": {"XXBTZUSD": entry, "SOLUSDC": entry, "XDGUSD": entry}})
    assert DECLARED.volumes(body) == {"BTC/USD": 40.0, "SOL/USDC": 40.0, "DOGE/USD": 40.0}


def test_an_error_comes_with_status_200():
    problem = DECLARED.rest.problem
    assert problem(b'{"error":["EAPI:Rate limit exceeded"]}') == "EAPI:Rate limit exceeded"
    assert problem(b'{"error":[],"result":{"unixtime":1}}') is None


def test_a_book_holds_as_long_as_its_checksum_does():
    shared = feeds()
    it = session(shared, book_depth=2)
    bids, asks = [("99.0", "1.00000000"), ("98.5", "0.02000000")], [("100.5", "0.00300000"), ("101.0", "4.00000000")]
    (first,) = it.parse(book(bids, asks, checksum(bids, asks), "snapshot"), NOW)
    assert (first.bids, first.asks) == ([(99.0, 1.0), (98.5, 0.02)], [(100.5, 0.003), (101.0, 4.0)])
    after = [("99.5", "7.00000000"), *bids]
    (second,) = it.parse(book(after[:1], [("100.5", "0")], checksum(after, asks[1:]), at=NOW + 1_000_000), NOW)
    assert (second.bids, second.asks) == ([(99.5, 7.0), (99.0, 1.0)], [(101.0, 4.0)])
    assert not it.parse(book([("99.0", "2.00000000")], [], 12345, at=NOW + 2_000_000), NOW)
    assert it.broken == {"book-10:BTC/USD"}
    assert shared.channel("books")["BTC/USD"].breaks == 1
    assert not it.parse(book([], [("102.0", "1.00000000")], 12345, at=NOW + 3_000_000), NOW), "it has no beginning"
    (again,) = it.parse(book(bids, asks, checksum(bids, asks), "snapshot", at=NOW + 4_000_000), NOW)
    assert again.bids == first.bids


def test_a_change_that_cannot_be_read_costs_its_book_for_the_checksum_covers_ten_levels_only():
    it = session()
    bids, asks = [("99.0", "1.00000000")], [("100.5", "0.00300000")]
    it.parse(book(bids, asks, checksum(bids, asks), "snapshot"), NOW)
    with pytest.raises(FrameError) as caught:
        it.parse(book([("98.0", '"NaN"')], [], 1), NOW)
    assert (caught.value.kind, it.broken) == ("book", {"book-25:BTC/USD"})


def test_digits_that_lost_their_zeros_get_them_back_from_the_pairs_precision():
    known = feeds()
    instrument = Instrument("", "BTC-USD", "BTC/USD", "BTC", "USD", "USD", "spot", tick_size=0.1, quantity_step=1e-8)
    known.directory.learn([instrument])
    whole = checksum([("99.0", "1.00000000")], [("100.0", "0.00000500")])
    (event,) = session(known).parse(book([("99", "1")], [("100", "5e-6")], whole, "snapshot"), NOW)
    assert (event.bids, event.asks) == ([(99.0, 1.0)], [(100.0, 5e-6)])


def test_what_falls_behind_the_subscribed_depth_is_forgotten():
    it = session(book_depth=10)
    bids = [(f"{99 - n}.0", "1.00000000") for n in range(10)]
    asks = [("100.0", "1.00000000")]
    it.parse(book(bids, asks, checksum(bids, asks), "snapshot"), NOW)
    better = [("99.5", "2.00000000"), *bids[:9]]
    (event,) = it.parse(book(better[:1], [], checksum(better, asks), at=NOW + 1_000_000), NOW)
    assert event.bids[-1] == (91.0, 1.0)
    fewer = better[1:]
    (event,) = it.parse(book([("99.5", "0")], [], checksum(fewer, asks), at=NOW + 2_000_000), NOW)
    assert len(event.bids) == 9, "the tenth was not said again"


def test_a_candle_is_told_when_the_next_one_begins():
    it, open_at = session(), NOW // time.MINUTE * time.MINUTE
    history = [candle(open_at - time.MINUTE, 99.0), candle(open_at, 101.0)]
    assert not it.parse(ohlc(*history, word="snapshot"), NOW), "what was before us is not ours to tell"
    assert not it.parse(ohlc(candle(open_at, 102.0)), NOW)
    (closed,) = it.parse(ohlc(candle(open_at + time.MINUTE, 103.0)), NOW)
    assert (closed.timestamp, closed.interval, closed.close, closed.volume) == (open_at, "1m", 102.0, 2.0)
    assert (closed.value, closed.trades, closed.source) == (202.0, 7, "ws")


def test_a_reconnect_tells_from_the_replayed_candles_what_was_missed():
    shared, open_at = feeds(), NOW // time.MINUTE * time.MINUTE
    session(shared).parse(ohlc(candle(open_at, 101.0)), NOW)
    history = [candle(open_at + n * time.MINUTE, 101.0 + n) for n in range(-2, 4)]
    told = session(shared).parse(ohlc(*history, word="snapshot"), NOW)
    assert [(e.timestamp, e.close) for e in told] == [(open_at + n * time.MINUTE, 101.0 + n) for n in range(3)]


def test_weeks_that_begin_on_thursday_are_not_taken_for_ours():
    topics = DECLARED.channels["klines"].topics("BTC/USD", Options(intervals=("1m", "1d", "1w")))
    assert [topic.name for topic in topics] == ["ohlc-1:BTC/USD", "ohlc-1440:BTC/USD"]


def test_a_request_holds_one_channel():
    together = DECLARED.limits.together
    assert together("book-25:BTC/USD") == together("book-25:ETH/USD") != together("trade:BTC/USD")
    asked = msgspec.json.decode(session().subscribe(["book-25:BTC/USD", "book-25:ETH/USD"]))
    params = {"channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 25, "snapshot": True}
    assert asked == {"method": "subscribe", "params": params, "req_id": 1}


def test_a_refused_pair_is_named_and_a_refusal_without_pair_is_the_whole_request():
    it = session()
    it.subscribe(["trade:BTC/USD", "trade:XBT/USD"])
    refusal = {"error": "Currency pair not supported XBT/USD", "method": "subscribe", "req_id": 1, "success": False}
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode({**refusal, "symbol": "XBT/USD"}), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("trade:XBT/USD",), "BTC-USD")
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode(refusal), NOW)
    assert caught.value.topics == ("trade:BTC/USD", "trade:XBT/USD")
    with pytest.raises(FrameError, match="the exchange says"):
        it.parse(msgspec.json.encode({**refusal, "req_id": 9}), NOW)


@pytest.mark.parametrize("raw", [
    b'{"channel":"heartbeat"}', b'{"channel":"status","type":"update","data":[{"system":"online"}]}',
    b'{"method":"pong","req_id":42,"time_in":"x","time_out":"y"}', b'{"channel":"ticker","type":"update","data":[]}',
    b'[337,[["5541.2","0.1","1534614057.321597","s","l",""]],"trade","XBT/USD"]', b'{"event":"heartbeat"}',
])  # fmt: skip
def test_what_is_of_no_use_yields_nothing(raw):
    assert not session().parse(raw, NOW)


def test_no_mutated_message_escapes_as_anything_but_a_bad_frame():
    bids, asks = [("99.0", "1.0")], [("100.5", "0.3")]
    good = [trades(fill(1)), trades(fill(2), fill(1), word="snapshot"),
            book(bids, asks, checksum(bids, asks), "snapshot"), book(bids, [], checksum(bids, asks)),
            ohlc(candle(NOW // time.MINUTE * time.MINUTE, 1.0)), b'{"method":"subscribe","success":false,"error":"x"}',
            b'{"method":"pong","req_id":1}']  # fmt: skip
    mutator = Mutator(good, 11)
    for _ in range(800):
        it = session()
        it.subscribe(["trade:BTC/USD"])
        for raw, events in endured(it, mutator, NOW):
            assert all(isinstance(event, Trade | Book | Kline) for event in events), raw


def decoded(path):
    out, err = io.BytesIO(), io.StringIO()
    with path.open("rb") as lines:
        code = decode("kraken", lines, None, out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@recorded
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.name)
def test_every_recorded_line_decodes_or_is_none_of_our_business(path):
    code, _, errors = decoded(path)
    assert (code, errors) == (0, "")


@recorded
def test_the_documented_book_has_the_documented_checksum():
    _, (event,), _ = decoded(RECORDED / "spot_aggbook.jkorf.jsonl")
    assert (event["bids"][0], event["asks"][0]) == ([0.5666, 4831.75496356], [0.5668, 4410.79769741])


@recorded
def test_recorded_pairs_have_symbols_sizes_and_the_sockets_spelling():
    body = (RECORDED.parent / "kraken_v1" / "rest_0_public_AssetPairs.cryptofeed.json").read_bytes()
    found = {i.symbol: i for i in DECLARED.instruments(body)}
    assert {"BTC-USD", "DOGE-BTC", "ETH-EUR"} <= found.keys()
    assert (found["DOGE-BTC"].exchange_symbol, found["BTC-USD"].tick_size) == ("DOGE/BTC", 0.1)
    names = {pair.get("wsname") for pair in json.loads(body)["result"].values()} - {None}
    assert len(found) == len(names) - 1, "ETH2.S/ETH is outside the charset"
