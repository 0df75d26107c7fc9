"""OKX: what its messages mean, and that simulated markets come through whole."""

from __future__ import annotations

import asyncio
import binascii
import io
import itertools
import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers._connection import Connection
from producers._decode import decode
from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from producers._ladder import Ladder
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._faults import Fault
from simulator._forced import forced
from tests.living import START_MS, Tray, live

NOW = 1_795_000_000_000_000


async def test_simulated_okx_spot_comes_through_whole(tmp_path):
    async with live("okx", tmp_path) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0, 0]
    await it.check_trades()
    books = tray.of(Book)
    assert len(books) > 100
    it.check_books([(e, (e.sequence - 9) // 10) for e in books], 20)
    it.check_klines(tray.of(Kline))
    assert not any(feed.breaks or feed.holes for feed in it.setup.feeds.all())


async def test_simulated_okx_swaps_linear_and_inverse_come_through_whole(tmp_path):
    async with live("okx_futures", tmp_path, symbols=4, rate=120.0) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert [c.state["reconnects"] for c in it.connections] == [0, 0]
    assert {"BTC-USDT-PERP", "XRP-USD-XRP-PERP"} <= it.listings.keys()
    await it.check_trades()
    it.check_books([(e, (e.sequence - 9) // 10) for e in tray.of(Book)], 20)
    it.check_klines(tray.of(Kline))
    _check_funding(it)
    _check_interest(it)
    _check_liquidations(it)


async def test_a_refused_symbol_costs_the_others_of_its_request_nothing(tmp_path):
    async with live("okx_futures", tmp_path) as it:
        names = [f"trades-all:{native}" for native in ("BTC-USDT-SWAP", "NOPE-USDT-SWAP", "ETH-USDT-SWAP")]
        feed = it.setup.feeds.channel("trades")["BTC-USDT-SWAP"]
        tray, url = Tray(), next(c.state["url"] for c in it.connections if c.state["url"].endswith("business"))
        connection = Connection(it.declared, it.setup, url, dict.fromkeys(names, (feed, 0.0)), tray, it.around)
        task = asyncio.create_task(connection.run())
        await it.until(START_MS + 20_000)
    await task
    assert connection.state["rejected"] == ["trades-all:NOPE-USDT-SWAP"]
    assert {e.symbol for e in tray.of(Trade)} == {"BTC-USDT-PERP", "ETH-USDT-PERP"}
    assert not tray.letters


async def test_lost_changes_and_a_dropped_connection_cost_no_book_for_good_and_every_missing_trade_is_known(tmp_path):
    async with live("okx", tmp_path) as it:
        await it.until(START_MS + 10_000)
        muted = it.simulator.fault(Fault(kind="mute", exchange="okx", channel="books", symbol="BTC-USDT", count=3))
        await it.until(START_MS + 30_000)
        dropped = it.simulator.fault(Fault(kind="drop", exchange="okx"))
        await it.until(START_MS + 75_000)
        tray = it.tray
    assert muted.fired == 3, "not run: nothing was lost"
    assert dropped.fired, "not run: nothing was dropped"
    feed = it.setup.feeds.channel("books")["BTC-USDT"]
    assert feed.breaks >= 1
    books = tray.of(Book)
    it.check_books([(e, (e.sequence - 9) // 10) for e in books], 20)
    assert max(e.timestamp for e in books if e.symbol == "BTC-USDT") > (START_MS + 60_000) * 1_000
    for native, trades in it.setup.feeds.channel("trades").items():
        ids = {int(e.trade_id) for e in tray.of(Trade, native)}
        missing = {number for first, last, *_ in trades.holes for number in range(first, last + 1)}
        assert ids | missing == set(range(min(ids), max(ids) + 1))
        assert not ids & missing


def _check_funding(it):
    funding = it.tray.of(Funding)
    assert len({(e.symbol, e.timestamp) for e in funding}) == len(funding)
    for e in funding:
        tape = it.tapes[e.symbol]
        period = derivatives.funding_hours(tape) * time.HOUR
        assert e.interval_hours * time.HOUR == period
        assert e.next_funding % period == 0
        assert 0 <= e.next_funding - e.received + 60 * time.SECOND <= period + 60 * time.SECOND
        assert abs(e.funding_rate) < 0.01
    marked = [e for e in funding if e.mark_price is not None and e.index_price is not None]
    assert len(marked) >= 4 * len(it.tapes)
    for e in marked:
        assert abs(e.mark_price / derivatives.mark_price(it.tapes[e.symbol], e.received // 1_000) - 1) < 1e-3
        assert abs(e.index_price / derivatives.index_price(it.tapes[e.symbol], e.received // 1_000) - 1) < 1e-3


def _check_interest(it):
    interest = it.tray.of(OpenInterest)
    assert len({(e.symbol, e.timestamp) for e in interest}) == len(interest) >= 8 * len(it.tapes)
    for e in interest:
        tape = it.tapes[e.symbol]
        units = derivatives.open_interest(tape, e.received // 1_000) * tape.listing.step_size
        assert abs((e.value if tape.listing.inverse else e.open_interest) / units - 1) < 1e-4
        assert (e.value is None) is not tape.listing.inverse


def _check_liquidations(it):
    told = it.tray.of(Liquidation)
    assert told, "not run: nobody was liquidated"
    for e in told:
        tape, at_ms = it.tapes[e.symbol], e.timestamp // 1_000
        orders = [order for order in forced(tape, at_ms - 1, at_ms) if order.sells == (e.side == "long")]
        size = tape.listing.step_size * orders[0].steps
        assert abs((e.value if tape.listing.inverse else e.quantity) / size - 1) < 1e-9
        assert abs(e.price / (orders[0].bankrupt * tape.listing.tick_size) - 1) < 1e-9
        assert e.coverage == "sampled"


# --- what messages mean ----------------------------------------------------------------------------------------
def feeds(exchange="okx_futures"):
    return Feeds(directory(load(exchange), exchange))


def session(exchange="okx_futures", shared=None, **options):
    return load(exchange).session(Setup(exchange, shared or feeds(exchange), Options(**options)))


def frame(channel, *data, of="BTC-USDT-SWAP", **more):
    return msgspec.json.encode({"arg": {"channel": channel, "instId": of}, **more, "data": data})


def fill(number, of="BTC-USDT-SWAP", **more):
    row = {"instId": of, "tradeId": str(number), "px": "90000", "sz": "3", "side": "buy", "ts": str(NOW // 1_000)}
    return frame("trades-all", row | more, of=of)


def depth(sequence, previous, bids=(), asks=(), action="update", at_ms=NOW // 1_000):
    rows = [[[price, size, "0", "1"] for price, size in side] for side in (bids, asks)]
    data = {"bids": rows[0], "asks": rows[1], "ts": str(at_ms), "seqId": sequence, "prevSeqId": previous, "checksum": 0}
    return frame("books", data, action=action)


def snapshot(sequence, at_ms=NOW // 1_000):
    return depth(sequence, -1, [("90000", "10")], [("90001", "20")], "snapshot", at_ms)


def test_a_linear_contract_is_worth_base_units_and_an_inverse_one_dollars():
    (linear,) = session().parse(fill(1, px="80000", sz="0.3"), NOW)
    (inverse,) = session().parse(fill(1, of="BTC-USD-SWAP", px="80000", sz="4"), NOW)
    (alt,) = session().parse(fill(1, of="LTC-USD-261225", px="80", sz="4"), NOW)
    assert (linear.quantity, linear.value) == (0.003, 240.0)
    assert (inverse.quantity, inverse.value) == (0.005, 400.0)
    assert (alt.symbol, alt.quantity, alt.value) == ("LTC-USD-LTC-20261225", 0.5, 40.0)


def test_the_exchanges_list_corrects_a_contract_size_even_of_a_feed_already_open():
    shared = feeds()
    it = session(shared=shared)
    assert it.parse(fill(1), NOW)[0].quantity == 0.03
    listed = {
        "instId": "BTC-USDT-SWAP", "instType": "SWAP", "state": "live", "uly": "BTC-USDT", "settleCcy": "USDT",
        "ctType": "linear", "ctVal": "0.01", "ctMult": "10", "tickSz": "0.1", "lotSz": "0.1",
    }  # fmt: skip
    (known,) = load("okx_futures").instruments(msgspec.json.encode({"code": "0", "data": [listed]}))
    assert (known.contract_size, known.tick_size, known.quantity_step) == (0.1, 0.1, 0.01)
    shared.directory.learn([known])
    shared.refresh()
    assert it.parse(fill(2), NOW)[0].quantity == 0.3


def test_a_contract_of_unknown_size_is_neither_subscribed_nor_guessed_but_its_funding_is_known():
    known = directory(load("okx_futures"), "okx_futures")
    assert known.native("WNCG-USDT-PERP") is None
    with pytest.raises(FrameError, match="finite"):
        session().parse(fill(1, of="WNCG-USDT-SWAP"), NOW)
    rate = {"instId": "WNCG-USDT-SWAP", "fundingRate": "0.00048105", "fundingTime": str(NOW // 1_000 + 60_000)}
    (told,) = session().parse(frame("funding-rate", rate, of="WNCG-USDT-SWAP"), NOW)
    assert (told.symbol, told.funding_rate, told.interval_hours) == ("WNCG-USDT-PERP", 0.00048105, None)


def test_single_fills_are_followed_by_id_and_aggregated_ones_are_not():
    shared = feeds()
    it = session(shared=shared)
    for number in (7, 8, 11):
        it.parse(fill(number), NOW)
    assert [hole[:2] for hole in shared.channel("trades")["BTC-USDT-SWAP"].holes] == [(9, 10)]
    row = {"instId": "BTC-USDT-SWAP", "tradeId": "15", "px": "1", "sz": "1", "side": "sell", "ts": "1795000000000"}
    (several,) = it.parse(frame("trades", row | {"count": "4"}), NOW)
    assert (several.fills, several.is_buyer_maker, several.trade_id) == (4, True, "15")
    (old,) = it.parse(frame("trades", row), NOW)
    assert old.fills == 1
    assert len(shared.channel("trades")["BTC-USDT-SWAP"].holes) == 1


def test_a_checksum_of_zero_is_never_looked_at_and_an_empty_update_holds_the_chain():
    it = session()
    (first,) = it.parse(snapshot(5), NOW)
    assert (first.sequence, first.bids, first.asks) == (5, [(90000.0, 0.1)], [(90001.0, 0.2)])
    assert not it.parse(depth(5, 5), NOW)  # a heartbeat
    (later,) = it.parse(depth(3, 5, bids=[("90000", "0"), ("89999", "7")], at_ms=NOW // 1_000 + 1_000), NOW)
    assert (later.sequence, later.bids) == (3, [(89999.0, 0.07)])  # after maintenance ids begin lower


def test_a_book_with_a_broken_chain_is_silent_counted_and_asked_for_until_its_snapshot():
    shared = feeds()
    it = session(shared=shared)
    it.parse(snapshot(5), NOW)
    feed = shared.channel("books")["BTC-USDT-SWAP"]
    heard = feed.frames
    for sequence, previous in ((9, 8), (10, 9)):
        assert not it.parse(depth(sequence, previous, at_ms=NOW // 1_000 + 5_000), NOW)
    assert (it.broken, feed.breaks, feed.frames) == ({"books:BTC-USDT-SWAP"}, 1, heard)
    (again,) = it.parse(snapshot(20, NOW // 1_000 + 9_000), NOW)
    assert again.sequence == 20


def test_a_candle_of_hong_kongs_day_is_not_taken_for_ours():
    row = ["1767196800000", "1", "2", "0.5", "1.5", "10", "0.1", "9", "1"]
    assert not session().parse(frame("candle1D", row), NOW)
    assert not session().parse(frame("candle6H", row), NOW)
    (told,) = session().parse(frame("candle1Dutc", row), NOW)
    assert (told.interval, told.volume, told.value, told.trades) == ("1d", 0.1, 9.0, None)
    topics = load("okx_futures").channels["klines"].topics("BTC-USDT-SWAP", Options(intervals=("4h", "1d", "1w", "8h")))
    assert [name.partition(":")[0] for _, name in topics] == ["candle4H", "candle1Dutc", "candle1Wutc"]


def test_candles_without_the_confirm_column_of_old_recordings_are_not_called_closed():
    assert not session().parse(frame("candle1m", ["1654154580000", "1", "2", "0.5", "1.5", "166", "0.554"]), NOW)


def liquidated(of="BTC-USDT-SWAP", **more):
    its = {"side": "sell", "posSide": "long", "sz": "5", "bkPx": "80000", "ts": str(NOW // 1_000)} | more
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    return msgspec.json.encode({"arg": arg, "data": [{"instId": of, "details": [its]}]})


@pytest.mark.parametrize(
    ("position", "order", "side"),
    [("long", "sell", "long"), ("short", "buy", "short"), ("net", "sell", "long"), ("", "buy", "short")],
)
def test_a_liquidations_side_is_the_position_and_in_net_mode_follows_from_the_order(position, order, side):
    (told,) = session().parse(liquidated(posSide=position, side=order), NOW)
    assert (told.side, told.quantity, told.value, told.coverage) == (side, 0.05, 4000.0, "sampled")
    (same,) = session().parse(liquidated(posSide=position, side=order), NOW)
    assert same.liquidation_id == told.liquidation_id


def test_a_liquidation_of_neither_side_is_a_bad_frame():
    with pytest.raises(FrameError, match="position 'net'") as caught:
        session().parse(liquidated(posSide="net", side="none"), NOW)
    assert caught.value.kind == "liquidation"


def test_a_whole_markets_liquidations_are_one_subscription_and_only_ours_are_told():
    it = session()
    asked = msgspec.json.decode(it.subscribe([f"liquidation-orders:{c}-USDT-SWAP" for c in ("BTC", "ETH")]))
    assert asked["args"] == [{"channel": "liquidation-orders", "instType": "SWAP"}]
    assert len(it.parse(liquidated(), NOW)) == 1
    assert not it.parse(liquidated(of="NEVERHEARDOF-USDT-SWAP"), NOW)
    assert it.unsubscribe(["liquidation-orders:BTC-USDT-SWAP"]) == b"ping", "the other symbol still needs it"
    assert not it.parse(liquidated(), NOW)
    gone = msgspec.json.decode(it.unsubscribe(["liquidation-orders:ETH-USDT-SWAP"]))
    assert (gone["op"], gone["args"]) == ("unsubscribe", asked["args"])


def test_the_rate_fills_slots_at_the_pace_of_marks_until_its_period_ends():
    it, end = session(), NOW // 1_000 + 100_000
    rate = {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0001", "fundingTime": str(end), "nextFundingRate": "",
            "nextFundingTime": str(end + 3_600_000), "ts": str(NOW // 1_000)}  # fmt: skip
    (first,) = it.parse(frame("funding-rate", rate), NOW)
    assert (first.interval_hours, first.next_funding, first.mark_price) == (1.0, end * 1_000, None)
    marks = [
        {"instId": "BTC-USDT-SWAP", "markPx": "90000.5", "ts": str(NOW // 1_000 + ms)} for ms in (1, 61_000, 101_000)
    ]
    told = [it.parse(frame("mark-price", mark), NOW + 200_000_000) for mark in marks]
    assert [len(events) for events in told] == [0, 1, 0]
    assert told[1][0].mark_price == 90000.5
    assert told[1][0].timestamp == time.floor(NOW + 61 * time.SECOND, time.MINUTE)


def test_a_rate_that_is_not_there_yet_yields_nothing():
    early = {"instId": "SOS-USDT-SWAP", "fundingTime": "1640851200000", "nextFundingRate": "0.0003"}
    assert not session().parse(frame("funding-rate", early, of="SOS-USDT-SWAP"), NOW)


def test_a_refused_subscription_is_named_by_its_text_or_else_by_its_request():
    it = session()
    it.subscribe(["trades-all:BTC-USDT-SWAP", "trades-all:NOPE-USDT-SWAP"])
    text = "Wrong URL or channel:trades-all,instId:NOPE-USDT-SWAP doesn't exist. Please use the correct URL."
    error = {"id": "1", "event": "error", "code": "60018", "msg": text, "connId": "x"}
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode(error), NOW)
    assert (caught.value.topics, caught.value.symbol) == (("trades-all:NOPE-USDT-SWAP",), "NOPE-USDT-PERP")
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode(error | {"msg": "Illegal request"}), NOW)
    assert len(caught.value.topics) == 2
    with pytest.raises(FrameError, match="60012 Illegal"):
        it.parse(msgspec.json.encode(error | {"id": "9", "code": "60012", "msg": "Illegal request"}), NOW)


def test_a_notice_of_an_upgrade_ends_the_connection_as_planned():
    it = session()
    assert not it.parse(b'{"event":"notice","code":"64008","msg":"The connection will soon be closed"}', NOW)
    assert it.ending.startswith("notice 64008")


@pytest.mark.parametrize(
    "raw",
    [
        b"pong", b'{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"connId":"73220c7f"}',
        b'{"event":"channel-conn-count","channel":"trades","connCount":"2","connId":"a"}',
        b'{"table":"swap/trade","data":[{"instrument_id":"BCH-USD-SWAP","price":"1","timestamp":"2019-08-01T00:00:08Z"}]}',
        b'{"code":"0","msg":"","data":[{"asks":[],"bids":[],"ts":"1654328918680"}]}',
    ],
)  # fmt: skip
def test_answers_and_messages_of_the_retired_api_yield_nothing(raw):
    assert not session().parse(raw, NOW)


@pytest.mark.parametrize(
    ("exchange", "native", "symbol"),
    [
        ("okx", "BTC-USDT", "BTC-USDT"), ("okx", "USDT-EUR", "USDT-EUR"),
        ("okx_futures", "BTC-USDT-SWAP", "BTC-USDT-PERP"), ("okx_futures", "BTC-USD-SWAP", "BTC-USD-BTC-PERP"),
        ("okx_futures", "BTC-USD-261225", "BTC-USD-BTC-20261225"),
        ("okx_futures", "ETH-USDT-261225", "ETH-USDT-20261225"),
    ],
)  # fmt: skip
def test_names_are_spelled_both_ways(exchange, native, symbol):
    known = directory(load(exchange), exchange)
    assert known.of(native).symbol == symbol
    assert known.native(symbol) == native


@pytest.mark.parametrize("native", ["BTC-USDT", "BTC-USD-261225-90000-C", "BTC_USDT", ""])
def test_what_is_no_contract_has_no_contracts_name(native):
    assert load("okx_futures").named(native) is None


def test_an_instrument_that_no_longer_trades_says_so_and_options_are_left_out():
    common = {"uly": "BTC-USD", "settleCcy": "BTC", "ctVal": "100", "ctMult": "1", "tickSz": "0.1", "lotSz": "1"}
    listed = [
        common | {"instId": "BTC-USD-220527", "instType": "FUTURES", "state": "expired", "ctType": "inverse"},
        common | {"instId": "BTC-USD-220514-22000-C", "instType": "OPTION", "state": "live"},
        {"instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT", "lotSz": "0.00000001"},
    ]
    body = msgspec.json.encode({"code": "0", "data": listed})
    (future,) = load("okx_futures").instruments(body)
    assert (future.symbol, future.status, future.inverse) == ("BTC-USD-BTC-20220527", "expired", True)
    assert [spot.symbol for spot in load("okx").instruments(body)] == ["BTC-USDT"]


def test_an_error_body_with_status_200_is_seen():
    problem = load("okx").rest.problem
    assert (
        problem(b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}')
        == "51001 Instrument ID does not exist"
    )
    assert problem(b'{"code":"0","msg":"","data":[]}') is None
    assert problem(b"[]") == "unreadable body"


@given(st.integers(0, 400), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_books_from_changes_equal_the_books_they_came_from(start, missing):
    """Whatever the order of changes, a book is either the market's or not told; a hole heals with a snapshot."""
    market = [{90000 - i: 1 + (i * 7 + step) % 13 for i in range(5 + step % 3)} for step in range(start, start + 8)]
    it, told = session(book_every=1_000, book_depth=3), []
    for step, levels in enumerate(market):
        before = market[step - 1] if step else {}
        changes = [(str(p), str(levels.get(p, 0))) for p in before | levels if before.get(p) != levels.get(p)]
        action = "update" if step and "books:BTC-USDT-SWAP" not in it.broken else "snapshot"
        rows = changes if action == "update" else [(str(p), str(s)) for p, s in levels.items()]
        it.broken.clear()
        if step != missing % 8:
            told += it.parse(depth(step, step - 1, rows, action=action, at_ms=NOW // 1_000 + step), NOW)
    for book in told:
        levels = market[book.sequence]
        assert book.bids == [(float(p), levels[p] / 100) for p in sorted(levels, reverse=True)[:3]]
    assert len(told) >= 5


# --- recordings of real traffic --------------------------------------------------------------------------------
RECORDED = Path(__file__).resolve().parent.parent.parent / "shared" / "frames" / "okx"


def _recorded(name):
    if not RECORDED.is_dir():
        pytest.skip("not run: no recorded frames beside the project")
    return (RECORDED / name).read_bytes()


@pytest.mark.parametrize("exchange", ["okx", "okx_futures"])
def test_no_recorded_line_of_either_market_is_taken_for_a_bad_one(exchange):
    _recorded("trade_all.tardis-tests.jsonl")
    for path in sorted(RECORDED.glob("*.jsonl")):
        err = io.StringIO()
        assert decode(exchange, path.read_bytes().splitlines(), None, io.BytesIO(), err) == 0, (path, err.getvalue())


def test_recorded_trades_sum_up_to_what_their_json_says():
    rows = [row for line in _recorded("trade.cryptofeed-2022.jsonl").splitlines() for row in json.loads(line)["data"]]
    contracts = json.loads(_recorded("rest_api_v5_public_instruments_instType_SWAP.cryptofeed.json"))["data"]
    contracts += json.loads(_recorded("rest_api_v5_public_instruments_instType_FUTURES.cryptofeed.json"))["data"]
    sizes = {its["instId"]: Decimal(its["ctVal"]) * Decimal(its["ctMult"]) for its in contracts}
    for exchange in ("okx", "okx_futures"):
        out = io.BytesIO()
        decode(exchange, _recorded("trade.cryptofeed-2022.jsonl").splitlines(), None, out, io.StringIO())
        told = [json.loads(line) for line in out.getvalue().splitlines()]
        wanted = [row for row in rows if (row["instId"] in sizes) == (exchange == "okx_futures")]
        assert [(t["trade_id"], t["is_buyer_maker"]) for t in told] == [
            (r["tradeId"], r["side"] == "sell") for r in wanted
        ]
        for its, row in zip(told, wanted, strict=True):
            inverse = "-USD-" in row["instId"]
            size = Decimal(row["sz"]) * sizes.get(row["instId"], 1)
            assert its["value" if inverse else "quantity"] == float(size)
            assert its["price"] * its["quantity"] == pytest.approx(its["value"])
            assert its["timestamp"] == int(row["ts"]) * 1_000


def test_a_recorded_book_kept_from_changes_equals_its_checksums():
    """In 2022 the exchange still sent one: CRC32 of the top 25 levels as it writes them."""
    books = {}
    checked = 0
    for line in _recorded("book.cryptofeed-2022.jsonl").splitlines():
        message = json.loads(line)
        if "data" not in message:
            continue
        native, (data,) = message["arg"]["instId"], message["data"]
        texts = books.setdefault(native, ({}, {}))
        it = books.setdefault(f"{native} ladder", Ladder())
        levels = [[tuple(map(float, level)) for level in data[side]] for side in ("bids", "asks")]
        it.begin(*levels, 0) if message["action"] == "snapshot" else it.change(*levels, 0)
        for known, side in zip(texts, ("bids", "asks"), strict=True):
            known.update({float(level[0]): f"{level[0]}:{level[1]}" for level in data[side]})
        sides = [[texts[i][price] for price, _ in side] for i, side in enumerate(it.top(25))]
        pairs = [text for row in itertools.zip_longest(*sides) for text in row if text is not None]
        assert binascii.crc32(":".join(pairs).encode()) == data["checksum"] % 2**32
        checked += 1
    assert checked > 50


def test_a_candle_that_names_two_channels_is_a_bad_frame():
    row = b'["1767225600000","1","1","1","1","1","1","1","1"]'
    raw = b'{"arg":{"channel":"candle1m","channel":"BTC-USDT"},"data":[' + row + b"]}"
    with pytest.raises(FrameError, match="a candle of channel 'BTC-USDT'"):
        session("okx").parse(raw, NOW)
