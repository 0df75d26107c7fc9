"""Bitget: what its messages mean, and that simulated spot and futures come through whole."""

from __future__ import annotations

import msgspec
import pytest

from producers._exchange import FrameError, Options, Request, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import Book, Funding, Kline, Liquidation, OpenInterest, Trade
from simulator import _derivatives as derivatives
from simulator._bitget_streams import TRADE_ID
from simulator._tape import START
from tests.living import START_MS, live

NOW = 1_795_000_000_000_000
AT = NOW // 1_000


def feeds(exchange="bitget_futures"):
    return Feeds(directory(load(exchange), exchange))


def session(exchange="bitget_futures", shared=None, **options):
    return load(exchange).session(Setup(exchange, shared or feeds(exchange), Options(**options)))


def push(channel, data, action="update", market="USDT-FUTURES", name="BTCUSDT"):
    arg = {"instType": market, "channel": channel, "instId": name}
    return msgspec.json.encode({"action": action, "arg": arg, "data": data, "ts": AT})


def fill(number, side="buy", price="50000", size="0.5", at=AT):
    return {"ts": str(at), "price": price, "size": size, "side": side, "tradeId": str(number)}


def forced(*them, market="usdt-futures"):
    arg = {"instType": market, "topic": "liquidation"}
    return msgspec.json.encode({"data": them, "arg": arg, "action": "update", "ts": AT})


def closed_out(name="BTCUSDT", side="buy", amount="100000", at=AT):
    return {"symbol": name, "side": side, "price": "50000", "amount": amount, "ts": str(at)}


def number(event):
    return int(event.trade_id) - TRADE_ID


@pytest.mark.parametrize(("exchange", "symbols"), [("bitget", 3), ("bitget_futures", 6)])
async def test_a_simulated_bitget_comes_through_whole(exchange, symbols, tmp_path):
    async with live(exchange, tmp_path, symbols=symbols, rate=120.0) as it:
        await it.until(START_MS + 85_000)
        tray = it.tray
    assert not tray.letters
    assert {c.state["reconnects"] for c in it.connections} == {0}
    await it.check_trades(number)
    it.check_books([(e, e.sequence // 10) for e in tray.of(Book)], 15)
    assert len(tray.of(Book)) > 100
    it.check_klines(tray.of(Kline))
    if exchange == "bitget":
        assert {type(e) for e in tray.events} == {Trade, Book, Kline}
        return
    assert {"BTC-USDT-PERP", "DOGE-USD-DOGE-PERP", "BNB-USDC-PERP"} <= set(it.tapes)
    for e in tray.of(Funding):
        tape = it.tapes[e.symbol]
        assert abs(e.funding_rate - derivatives.predicted_rate(tape, e.received // 1_000)) < 1e-4
        assert e.interval_hours in (None, float(derivatives.funding_hours(tape)))
        assert e.next_funding in {
            t * 1_000 for t in (START_MS + 20_000, derivatives.next_funding(tape, START_MS + 30_000))
        }
    assert {e.interval_hours for e in tray.of(Funding)[-symbols:]} <= {4.0, 8.0}
    for e in tray.of(OpenInterest):
        held = derivatives.open_interest(it.tapes[e.symbol], e.received // 1_000) * it.listings[e.symbol].step_size
        assert abs(e.open_interest / held - 1) < 1e-4
        assert e.value / e.open_interest == pytest.approx(it.listings[e.symbol].coin.price, rel=0.5)
    assert len(tray.of(OpenInterest)) >= 8 * symbols


async def test_forced_trades_of_the_simulated_market_are_liquidations_of_the_right_side(tmp_path):
    async with live("bitget_futures", tmp_path, rate=600.0) as it:
        await it.until(START_MS + 90_000)
        found, heard = it.tray.of(Liquidation), it.tray.of(Trade)
    wanted = set()
    for e in heard:
        tape = it.tapes[e.symbol]
        columns = tape.minute(START + (number(e) - 1) // tape.fills)
        if columns.rows[number(e) - columns.first_id][4] and e.timestamp <= (START_MS + 75_000) * 1_000:
            side = "long" if e.is_buyer_maker else "short"
            wanted.add((e.symbol, e.timestamp, side, e.price, round(e.quantity, 9)))
    assert wanted, "not run: no forced trade"
    got = {(e.symbol, e.timestamp, e.side, e.price, round(e.quantity, 9)) for e in found}
    first = min(e.timestamp for e in found)
    assert {w for w in wanted if w[1] >= first} <= got
    assert {e.coverage for e in found} == {"sampled"}


def test_fills_come_newest_first_and_are_told_oldest_first():
    sold, bought = session().parse(push("trade", [fill(9), fill(7, side="sell", at=AT - 5)]), NOW)
    assert [(e.trade_id, e.is_buyer_maker) for e in (sold, bought)] == [("7", True), ("9", False)]
    assert (bought.symbol, bought.quantity, bought.value) == ("BTC-USDT-PERP", 0.5, 25_000.0)


def test_history_sent_on_reconnecting_fills_what_was_missed_and_repeats_nothing_older():
    shared = feeds()
    old = [fill(3), fill(2, at=AT - 10), fill(1, at=AT - 700_000)]
    assert [e.trade_id for e in session(shared=shared).parse(push("trade", old, "snapshot"), NOW)] == ["2", "3"]
    new = [fill(5, at=AT + 9), fill(4), *old]
    assert [e.trade_id for e in session(shared=shared).parse(push("trade", new, "snapshot"), NOW)] == ["3", "4", "5"]
    late = session(shared=shared).parse(push("trade", [fill(6, at=AT - 1)]), NOW)
    assert [e.trade_id for e in late] == ["6"], "an update is no history"


def test_sizes_of_coin_margined_futures_are_coins_in_v2_and_dollars_in_v3():
    (coins,) = session().parse(push("trade", [fill(1)], market="COIN-FUTURES", name="BTCUSD"), NOW)
    assert (coins.symbol, coins.quantity, coins.value) == ("BTC-USD-BTC-PERP", 0.5, 25_000.0)
    arg = {"instType": "coin-futures", "topic": "publicTrade", "symbol": "BTCUSD"}
    row = {"i": "1", "p": "50000", "v": "25000", "S": "sell", "T": str(AT), "L": "2", "isRPI": "no"}
    (dollars,) = session().parse(msgspec.json.encode({"action": "update", "arg": arg, "data": [row]}), NOW)
    assert (dollars.quantity, dollars.value, dollars.is_buyer_maker) == (0.5, 25_000.0, True)


def test_a_liquidation_names_the_position_and_counts_quote_units():
    long, short = session().parse(forced(closed_out(), closed_out("ETHUSDT", "sell")), NOW)
    assert (long.side, long.quantity, long.value, long.coverage) == ("long", 2.0, 100_000.0, "sampled")
    assert (short.symbol, short.side) == ("ETH-USDT-PERP", "short")


def test_equal_liquidations_of_a_push_are_several_and_a_repeated_push_is_the_same():
    raw = forced(closed_out(), closed_out(), closed_out(side="sell"))
    first, again = (session().parse(raw, NOW) for _ in range(2))
    assert len({e.liquidation_id for e in first}) == 3
    assert [e.liquidation_id for e in first] == [e.liquidation_id for e in again]


def test_liquidations_are_asked_for_by_the_type_and_those_of_others_are_dropped():
    it = session()
    request = msgspec.json.decode(
        it.subscribe(["USDT-FUTURES|liquidation|BTCUSDT", "USDT-FUTURES|liquidation|ETHUSDT"])
    )
    assert request == {"op": "subscribe", "args": [{"instType": "usdt-futures", "topic": "liquidation"}]}
    raw = forced(closed_out(), closed_out("SOLUSDT"))
    assert [e.symbol for e in it.parse(raw, NOW)] == ["BTC-USDT-PERP"]
    assert it.unsubscribe(["USDT-FUTURES|liquidation|ETHUSDT"]) == b"ping", "the type is still needed"
    gone = msgspec.json.decode(it.unsubscribe(["USDT-FUTURES|liquidation|BTCUSDT"]))
    assert gone == {"op": "unsubscribe", "args": [{"instType": "usdt-futures", "topic": "liquidation"}]}


def row(open_ms, close="101", columns=7):
    return [str(open_ms), "100", "110", "90", close, "2", "200", "200"][:columns]


@pytest.mark.parametrize("columns", [7, 8])
def test_a_candle_is_told_when_the_next_begins_and_history_only_where_it_was_missed(columns):
    shared, minute = feeds(), AT // 60_000 * 60_000
    it = session(shared=shared)
    history = [row(minute - 60_000 * n, columns=columns) for n in (3, 2, 1, 0)]
    assert not it.parse(push("candle1m", history, "snapshot"), NOW), "what was before the start is no news"
    assert not it.parse(push("candle1m", [row(minute, "102", columns)]), NOW)
    (told,) = it.parse(push("candle1m", [row(minute + 60_000, columns=columns)]), NOW)
    assert (told.timestamp, told.close, told.volume, told.value, told.trades) == (
        minute * 1000,
        102.0,
        2.0,
        200.0,
        None,
    )
    again = session(shared=shared)
    replay = [row(minute + 60_000 * n, columns=columns) for n in (0, 1, 2, 3)]
    missed = again.parse(push("candle1m", replay, "snapshot"), NOW + 3 * time.MINUTE)
    assert [e.timestamp // 1000 - minute for e in missed] == [60_000, 120_000]


def test_days_of_hong_kong_are_not_ours():
    day = AT // 86_400_000 * 86_400_000
    for channel, open_ms in (("candle1D", day), ("candle1Dutc", day - 8 * 3_600_000)):
        it = session()
        assert not it.parse(push(channel, [row(open_ms)]), NOW)
        assert not it.parse(push(channel, [row(open_ms + 86_400_000)]), NOW + time.DAY)
    topics = load("bitget").channels["klines"].topics("BTCUSDT", Options(intervals=("1h", "6h", "1d", "3m")))
    assert [topic.name for topic in topics] == [
        "SPOT|candle1H|BTCUSDT", "SPOT|candle6Hutc|BTCUSDT", "SPOT|candle1Dutc|BTCUSDT",
    ]  # fmt: skip


def ticker(**more):
    return {"instId": "BTCUSDT", "ts": str(AT), "fundingRate": "0.000078", "nextFundingTime": str(AT + 3_600_000),
            "markPrice": "50000", "indexPrice": "49999.5", "holdingAmount": "100.5"} | more  # fmt: skip


def test_a_ticker_carries_funding_and_open_interest_in_coins():
    it = session()
    it.feeds.directory.hours["BTCUSDT"] = 8.0
    funding, interest = it.parse(push("ticker", [ticker()], "snapshot"), NOW)
    assert (funding.funding_rate, funding.interval_hours, funding.next_funding) == (0.000078, 8.0, NOW + time.HOUR)
    assert (funding.mark_price, funding.index_price) == (50_000.0, 49_999.5)
    assert (interest.open_interest, interest.value) == (100.5, 5_025_000.0)
    assert it.latest == NOW, "the time of the next funding is not the exchange's time"
    (alone,) = session(channels=frozenset({"funding"})).parse(push("ticker", [ticker()], "snapshot"), NOW)
    assert isinstance(alone, Funding)


def test_a_dated_future_has_no_funding():
    dated = ticker(instId="BTCUSDZ24", fundingRate="0", nextFundingTime="0", indexPrice="0")
    (interest,) = session().parse(push("ticker", [dated], market="COIN-FUTURES", name="BTCUSDZ24"), NOW)
    assert (interest.symbol, type(interest)) == ("BTC-USD-BTC-20241227", OpenInterest)


def test_funding_intervals_come_from_the_contracts():
    shared = feeds()
    poll = load("bitget_futures").channels["funding"].knowledge
    body = {"code": "00000", "data": [
        {"symbol": "BTCUSDT", "symbolStatus": "normal", "pricePlace": "1", "priceEndStep": "1",
         "sizeMultiplier": "0.0001", "fundInterval": "8"},
        {"symbol": "BTCUSDZ24", "symbolStatus": "normal", "pricePlace": "1", "priceEndStep": "5",
         "sizeMultiplier": "0.001", "fundInterval": ""}]}  # fmt: skip
    setup = Setup("bitget_futures", shared, Options())
    assert len(poll.requests([], setup, NOW)) == 3
    assert not poll.parse(msgspec.json.encode(body), Request(""), NOW, setup)
    assert shared.directory.hours == {"BTCUSDT": 8.0}


@pytest.mark.parametrize(("depth", "name"), [(1, "books1"), (5, "books5"), (10, "books15"), (20, "books15")])
def test_books_are_asked_for_as_deep_as_snapshots_go(depth, name):
    (topic,) = load("bitget").channels["books"].topics("BTCUSDT", Options(book_depth=depth))
    assert topic.name == f"SPOT|{name}|BTCUSDT"


def test_books_that_come_as_changes_and_frames_of_other_markets_or_versions_yield_nothing():
    levels = {"asks": [["50001", "1"]], "bids": [["50000", "2"]], "checksum": 1, "ts": str(AT)}
    assert not session().parse(push("books", [levels]), NOW)
    assert not session().parse(push("books15", [levels], market="SPOT"), NOW)
    assert not session("bitget").parse(push("trade", [["1", "2", "3", "buy"]], market="sp"), NOW), "v1"
    (book,) = session().parse(push("books15", [levels], "snapshot"), NOW)
    assert (book.bids, book.sequence) == ([(50_000.0, 2.0)], AT)


def test_answers_yield_nothing_and_errors_name_their_topic():
    assert not session().parse(b"pong", NOW)
    arg = {"instType": "SPOT", "channel": "candle1h", "instId": "BTCUSDT"}
    assert not session("bitget").parse(msgspec.json.encode({"event": "subscribe", "arg": arg}), NOW)
    with pytest.raises(SubscriptionRejected, match="30016 Param error") as caught:
        session("bitget").parse(
            msgspec.json.encode({"event": "error", "arg": arg, "code": 30016, "msg": "Param error"}), NOW
        )
    assert (caught.value.topics, caught.value.symbol) == (("SPOT|candle1h|BTCUSDT",), "BTCUSDT")
    with pytest.raises(FrameError, match="the exchange says: 30003"):
        session().parse(b'{"event":"error","code":30003,"msg":"INVALID op"}', NOW)
    it = session()
    it.subscribe(["USDT-FUTURES|liquidation|BTCUSDT"])
    arg = {"instType": "usdt-futures", "topic": "liquidation"}
    with pytest.raises(SubscriptionRejected) as caught:
        it.parse(msgspec.json.encode({"event": "error", "arg": arg, "code": "30001", "msg": "no"}), NOW)
    assert caught.value.topics == ("USDT-FUTURES|liquidation|BTCUSDT",)


@pytest.mark.parametrize(
    ("exchange", "native", "symbol", "market"),
    [
        ("bitget", "BTCUSDT", "BTC-USDT", "SPOT"),
        ("bitget_futures", "BTCUSDT", "BTC-USDT-PERP", "USDT-FUTURES"),
        ("bitget_futures", "1000SATSUSDT", "1000SATS-USDT-PERP", "USDT-FUTURES"),
        ("bitget_futures", "PERPUSDT", "PERP-USDT-PERP", "USDT-FUTURES"),
        ("bitget_futures", "BTCPERP", "BTC-USDC-PERP", "USDC-FUTURES"),
        ("bitget_futures", "BTCUSD", "BTC-USD-BTC-PERP", "COIN-FUTURES"),
        ("bitget_futures", "BTCUSDZ26", "BTC-USD-BTC-20261225", "COIN-FUTURES"),
        ("bitget_futures", "ETHUSDTH27", "ETH-USDT-20270326", "USDT-FUTURES"),
    ],
)
def test_names_are_spelled_both_ways(exchange, native, symbol, market):
    known = directory(load(exchange), exchange)
    assert known.of(native).symbol == symbol
    assert known.of(native).inverse == (market == "COIN-FUTURES")
    assert known.native(symbol) == native
    (topic,) = load(exchange).channels["trades"].topics(native, Options())
    assert topic.name == f"{market}|trade|{native}"


def test_the_lists_give_grids_states_and_delivery_dates():
    pair = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "pricePrecision": "2", "status": "online",
            "quantityPrecision": "6"}  # fmt: skip
    body = {"code": "00000", "data": [pair, pair | {"symbol": "OLDUSDT", "baseCoin": "OLD", "status": "offline"}]}
    btc, old = load("bitget").instruments(msgspec.json.encode(body))
    assert (btc.symbol, btc.tick_size, btc.quantity_step, btc.status) == ("BTC-USDT", 0.01, 0.000001, "trading")
    assert old.status == "offline"
    contract = {"symbol": "ETHUSD_231229", "symbolStatus": "normal", "pricePlace": "1", "priceEndStep": "5",
                "sizeMultiplier": "0.001", "deliveryTime": "1703836799000", "fundInterval": ""}  # fmt: skip
    (eth,) = load("bitget_futures").instruments(msgspec.json.encode({"code": "00000", "data": [contract]}))
    assert (eth.symbol, eth.tick_size, eth.kind, eth.inverse) == ("ETH-USD-ETH-20231229", 0.5, "future", True)


def test_an_error_with_status_200_is_recognised():
    problem = load("bitget").rest.problem
    assert problem(b'{"code":"40034","msg":"Parameter does not exist","requestTime":0,"data":null}') == (
        "40034 Parameter does not exist"
    )
    assert problem(b'{"code":"00000","msg":"success","data":[]}') is None
