"""The simulator speaks Binance, spot and USD-M: streams and history say the same, in the documented words."""

import asyncio
import json
from itertools import pairwise

import pytest
from simulating import START_MS, exact, running, subscribe, until
from websockets.exceptions import ConnectionClosed

ROUTES = {"binance": ("/stream", "/api/v3"), "binance_futures": ("/public/stream", "/fapi/v1")}


async def test_spot_trades_on_the_stream_and_in_the_history_are_the_same_texts():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, "btcusdt@trade", "ethusdt@trade")
        await bench.go_on(90_000)
        found = await bench.data(socket)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            live = found[f"{symbol.lower()}@trade"]
            ids = [trade["t"] for trade in live]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert len(ids) > 100
            path = f"/api/v3/historicalTrades?symbol={symbol}&fromId={ids[0]}&limit=1000"
            history = await bench.rows(path)
            assert [tuple(row[key] for key in ("id", "price", "qty", "time", "isBuyerMaker")) for row in history] == [
                tuple(trade[key] for key in ("t", "p", "q", "T", "m")) for trade in live[:1000]
            ]
            assert {tuple(trade) for trade in live} == {("e", "E", "s", "t", "p", "q", "T", "m", "M")}
            assert all(trade["e"] == "trade" and trade["s"] == symbol and trade["E"] >= trade["T"] for trade in live)


@pytest.mark.parametrize("exchange", ["binance", "binance_futures"])
async def test_aggregates_are_dense_merge_the_fills_and_equal_the_history(exchange):
    path, rest = ("/stream", "/api/v3") if exchange == "binance" else ("/market/stream", "/fapi/v1")
    async with running() as bench, bench.ws(path, exchange) as socket:
        await subscribe(socket, "btcusdt@aggTrade")
        await bench.go_on(20_000)
        live = (await bench.data(socket))["btcusdt@aggTrade"]
        history = await bench.rows(f"{rest}/aggTrades?symbol=BTCUSDT&fromId={live[0]['a']}&limit=1000", exchange)
        keys = ("a", "p", "q", "f", "l", "T", "m")
        assert [[row[key] for key in keys] for row in history] == [[row[key] for key in keys] for row in live]
        assert [row["a"] for row in live] == list(range(live[0]["a"], live[0]["a"] + len(live)))
        assert all(left["l"] + 1 == right["f"] for left, right in pairwise(live))
        assert any(row["l"] > row["f"] for row in live)
        timed = await bench.rows(
            f"{rest}/aggTrades?symbol=BTCUSDT&startTime={live[3]['T']}&endTime={live[40]['T']}&limit=1000", exchange
        )
        assert [row["a"] for row in timed] == [row["a"] for row in live if live[3]["T"] <= row["T"] <= live[40]["T"]]


async def test_an_aggregate_sums_up_exactly_the_fills_it_names():
    async with running() as bench:
        aggregates = await bench.rows("/api/v3/aggTrades?symbol=ETHUSDT&limit=50")
        first = aggregates[0]["f"]
        fills = {
            row["id"]: row
            for row in await bench.rows(f"/api/v3/historicalTrades?symbol=ETHUSDT&fromId={first}&limit=1000")
        }
        for row in aggregates:
            parts = [fills[name] for name in range(row["f"], row["l"] + 1)]
            assert exact(part["qty"] for part in parts) == exact([row["q"]])
            assert {(part["price"], part["time"], part["isBuyerMaker"]) for part in parts} == {
                (row["p"], row["T"], row["m"])
            }


@pytest.mark.parametrize("exchange", list(ROUTES))
async def test_klines_equal_the_trades_of_their_interval(exchange):
    rest = ROUTES[exchange][1]
    async with running(rate=20.0) as bench:
        start = START_MS // 60_000 * 60_000 - 120_000
        [row] = await bench.rows(
            f"{rest}/klines?symbol=SOLUSDT&interval=1m&startTime={start}&endTime={start + 59_999}", exchange
        )
        trades = await bench.rows(
            f"{rest}/aggTrades?symbol=SOLUSDT&startTime={start}&endTime={start + 59_999}&limit=1000", exchange
        )
        assert row[0] == start
        assert row[6] == start + 59_999
        assert row[1] == trades[0]["p"]
        assert row[4] == trades[-1]["p"]
        assert exact([row[2]]) == max(exact([trade["p"]]) for trade in trades)
        assert exact([row[3]]) == min(exact([trade["p"]]) for trade in trades)
        assert exact([row[5]]) == exact(trade["q"] for trade in trades)
        assert exact([row[7]]) == sum(exact([trade["p"]]) * exact([trade["q"]]) for trade in trades)
        assert exact([row[9]]) == exact(trade["q"] for trade in trades if not trade["m"])
        assert row[8] == trades[-1]["l"] - trades[0]["f"] + 1


async def test_a_closed_kline_on_the_stream_equals_the_one_in_the_history():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, "btcusdt@kline_1m")
        await bench.go_on(51_000)
        frames = (await bench.data(socket))["btcusdt@kline_1m"]
        [closed] = [frame["k"] for frame in frames if frame["k"]["x"]]
        assert closed["t"] == START_MS // 60_000 * 60_000
        assert len(frames) == 25  # every two seconds
        [row] = await bench.rows(f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={closed['t']}&limit=1")
        assert row == [closed[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]
        volumes = [exact([frame["k"]["v"]]) for frame in frames if frame["k"]["t"] == closed["t"]]
        assert volumes == sorted(volumes)


async def test_partial_books_on_spot_have_neither_symbol_nor_time_and_equal_the_rest_book():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, "btcusdt@depth20@100ms")
        await bench.go_on(300)
        books = (await bench.data(socket))["btcusdt@depth20@100ms"]
        assert len(books) == 3
        assert all(set(book) == {"lastUpdateId", "bids", "asks"} for book in books)
        assert await bench.rows("/api/v3/depth?symbol=BTCUSDT&limit=20") == books[-1]


@pytest.mark.parametrize("exchange", list(ROUTES))
async def test_a_book_kept_by_the_diff_stream_equals_the_next_snapshot(exchange):
    path, rest = ROUTES[exchange]
    async with running() as bench, bench.ws(path, exchange) as socket:
        await subscribe(socket, "btcusdt@depth@100ms")
        snapshot = await bench.rows(f"{rest}/depth?symbol=BTCUSDT&limit=1000", exchange)
        await bench.go_on(3_000)
        updates = (await bench.data(socket))["btcusdt@depth@100ms"]
        sides = {key: dict(snapshot[word]) for key, word in zip("ba", ("bids", "asks"), strict=True)}
        last = snapshot["lastUpdateId"]
        for update in updates:
            assert update["e"] == "depthUpdate"
            assert update.get("pu", update["U"] - 1) == last
            last = update["u"]
            for key in "ba":
                sides[key].update(dict(update[key]))
        after = await bench.rows(f"{rest}/depth?symbol=BTCUSDT&limit=1000", exchange)
        assert after["lastUpdateId"] == last
        for key, word in zip("ba", ("bids", "asks"), strict=True):
            assert {price: quantity for price, quantity in sides[key].items() if float(quantity)} == dict(after[word])


async def test_futures_partial_books_come_as_depth_updates_with_time_and_symbol():
    async with running() as bench, bench.ws("/public/stream", "binance_futures") as socket:
        await subscribe(socket, "btcusdt@depth20@100ms")
        await bench.go_on(100)
        [book] = (await bench.data(socket))["btcusdt@depth20@100ms"]
        assert (book["e"], book["s"], len(book["b"]), len(book["a"])) == ("depthUpdate", "BTCUSDT", 20, 20)
        assert book["E"] == bench.clock.ms


async def test_a_futures_stream_of_the_wrong_category_is_acknowledged_and_stays_silent():
    async with running() as bench:
        for path, silent, loud in (
            ("/public/stream", "btcusdt@aggTrade", "btcusdt@trade"),
            ("/market/stream", "btcusdt@trade", "btcusdt@aggTrade"),
            ("/stream", "btcusdt@aggTrade", "btcusdt@trade"),
        ):
            async with bench.ws(path, "binance_futures") as socket:
                await subscribe(socket, silent, loud)
                await bench.go_on(5_000)
                assert list(await bench.data(socket)) == [loud]


async def test_liquidations_are_orders_of_the_tape_and_at_most_one_a_symbol_and_second():
    async with running(symbols=20, rate=600.0) as bench, bench.ws("/market/stream", "binance_futures") as socket:
        await subscribe(socket, "!forceOrder@arr", "btcusdt@forceOrder")
        for _ in range(12):
            await bench.go_on(20_000)
        found = await bench.data(socket)
        orders = [frame["o"] for frame in found["!forceOrder@arr"]]
        assert {order["S"] for order in orders} == {"BUY", "SELL"}
        seconds = [(frame["E"], frame["o"]["s"]) for frame in found["!forceOrder@arr"]]
        assert len(seconds) == len(set(seconds))
        assert found["btcusdt@forceOrder"] == [f for f in found["!forceOrder@arr"] if f["o"]["s"] == "BTCUSDT"]
        order = orders[0]
        fills = await bench.rows(
            f"/fapi/v1/aggTrades?symbol={order['s']}&startTime={order['T']}&endTime={order['T']}", "binance_futures"
        )
        took = [fill for fill in fills if fill["m"] == (order["S"] == "SELL")]
        assert min(exact([f["p"]]) for f in took) <= exact([order["ap"]]) <= max(exact([f["p"]]) for f in took)
        assert exact([order["z"]]) <= exact(fill["q"] for fill in took)


async def test_mark_prices_name_the_settlement_until_it_is_over():
    async with running() as bench, bench.ws("/market/ws/btcusdt@markPrice@1s", "binance_futures") as socket:
        info = await bench.rows("/fapi/v1/premiumIndex?symbol=BTCUSDT", "binance_futures")
        await until(lambda: bench.streams("binance_futures") == 1)
        await bench.go_on(info["nextFundingTime"] - bench.clock.ms - 1_000)
        await bench.received(socket)
        await bench.go_on(2_000)
        at, later = [json.loads(frame) for frame in await bench.received(socket)]
        assert at["E"] == at["T"] == info["nextFundingTime"]
        assert later["T"] > later["E"]
        [settled] = await bench.rows(
            f"/fapi/v1/fundingRate?symbol=BTCUSDT&startTime={at['T']}&endTime={at['T']}", "binance_futures"
        )
        assert settled["fundingRate"] == at["r"]


async def test_funding_info_names_the_symbols_that_differ_from_eight_hours():
    async with running(symbols=40) as bench:
        rows = await bench.rows("/fapi/v1/fundingInfo", "binance_futures")
        assert 0 < len(rows) < 40
        assert {row["fundingIntervalHours"] for row in rows} == {4}


async def test_open_interest_now_continues_its_history():
    async with running() as bench:
        path = "/futures/data/openInterestHist?symbol=ETHUSDT&period=5m&limit=500"
        history = await bench.rows(path, "binance_futures")
        now = await bench.rows("/fapi/v1/openInterest?symbol=ETHUSDT", "binance_futures")
        assert len(history) == 500
        assert [b["timestamp"] - a["timestamp"] for a, b in pairwise(history)] == [300_000] * 499
        assert abs(float(now["openInterest"]) / float(history[-1]["sumOpenInterest"]) - 1) < 0.01


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/klines?interval=1m", -1102),
        ("/klines?symbol=NOPE&interval=1m", -1121),
        ("/klines?symbol=BTCUSDT&interval=7m", -1120),
        ("/klines?symbol=BTCUSDT", -1102),
        ("/klines?symbol=BTCUSDT&interval=1m&limit=x", -1100),
        ("/klines?symbol=BTCUSDT&interval=1m&limit=0", -1130),
        ("/aggTrades?symbol=BTCUSDT&fromId=1&startTime=5", -1128),
        ("/aggTrades?symbol=BTCUSDT&fromId=-1", -1100),
    ],
)
@pytest.mark.parametrize("exchange", list(ROUTES))
async def test_bad_requests_get_the_error_body_of_the_exchange(exchange, path, code):
    async with running() as bench:
        status, body, _ = await bench.get(ROUTES[exchange][1] + path, exchange)
        assert (status, body["code"]) == (400, code)


async def test_limits_of_rows_are_capped_on_spot_and_refused_on_futures():
    async with running() as bench:
        assert len(await bench.rows("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5000")) == 1_000
        status, body, _ = await bench.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=5000", "binance_futures")
        assert (status, body["code"]) == (400, -1130)
        assert (
            len(await bench.rows("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500", "binance_futures")) == 1_500
        )


async def test_exchange_info_names_the_grid_every_price_and_quantity_is_on():
    async with running(symbols=40) as bench:
        for exchange, rest in (("binance", "/api/v3"), ("binance_futures", "/fapi/v1")):
            info = await bench.rows(f"{rest}/exchangeInfo", exchange)
            assert len(info["symbols"]) == 40
            for symbol in info["symbols"][::7]:
                filters = {f["filterType"]: f for f in symbol["filters"]}
                for trade in await bench.rows(f"{rest}/aggTrades?symbol={symbol['symbol']}&limit=20", exchange):
                    assert exact([trade["p"]]) % exact([filters["PRICE_FILTER"]["tickSize"]]) == 0
                    assert exact([trade["q"]]) % exact([filters["LOT_SIZE"]["stepSize"]]) == 0


async def test_streams_in_the_url_begin_at_once_and_raw_streams_have_no_envelope():
    async with running() as bench:
        async with bench.ws("/stream?streams=btcusdt@trade/ethusdt@trade") as socket:
            await until(lambda: bench.streams() == 2)
            await bench.go_on(5_000)
            assert set(await bench.data(socket)) == {"btcusdt@trade", "ethusdt@trade"}
        async with bench.ws("/ws/btcusdt@trade?timeUnit=MICROSECOND") as socket:
            await until(lambda: bench.streams() == 1)
            await bench.go_on(5_000)
            [first, *_] = map(json.loads, await bench.received(socket))
            assert first["e"] == "trade"
            assert START_MS * 1_000 < first["T"] <= bench.clock.ms * 1_000


async def test_subscriptions_are_listed_ended_and_bad_requests_named():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench, bench.ws() as socket:
        await subscribe(socket, "btcusdt@trade", "NOSUCH@trade")
        await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
        assert json.loads(await socket.recv()) == {"result": ["btcusdt@trade", "NOSUCH@trade"], "id": 3}
        await socket.send('{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":4}')
        assert json.loads(await socket.recv()) == {"result": None, "id": 4}
        await bench.go_on(5_000)
        assert await bench.received(socket) == []
        for request in ("nonsense", "[]", '{"method":"DANCE","id":5}'):
            now[0] += 1.0  # five frames a second are allowed
            await socket.send(request)
            assert json.loads(await socket.recv())["error"]["code"] in (2, 3)


@pytest.mark.parametrize(
    ("exchange", "path", "allowed"), [("binance", "/ws", 5), ("binance_futures", "/public/ws", 10)]
)
async def test_more_frames_a_second_than_allowed_end_the_connection(exchange, path, allowed):
    async with running(monotonic=lambda: 1_000.0) as bench, bench.ws(path, exchange) as socket:
        for name in range(allowed):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": name}))
            assert json.loads(await socket.recv())["id"] == name
        await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":99}')
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert bench.simulator.state()["exchanges"][exchange]["counts"]["overrun"] == 1


async def test_more_than_1024_streams_end_the_connection():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, *[f"s{place}@trade" for place in range(1_024)])
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["one@more"], "id": 2}))
        assert "error" in json.loads(await socket.recv())
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_weight_is_counted_then_refused_then_banned():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench:
        _, _, headers = await bench.get("/api/v3/exchangeInfo")
        assert headers["X-MBX-USED-WEIGHT-1M"] == "20"
        for _ in range(23):
            await bench.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
        assert (await bench.get("/api/v3/depth?symbol=BTCUSDT&limit=5000"))[0] == 429
        status, body, headers = await bench.get("/api/v3/ping")
        assert (status, body["code"]) == (418, -1003)
        now[0] += float(headers["Retry-After"])
        assert (await bench.get("/api/v3/ping"))[0] == 200
        rest = bench.simulator.state()["exchanges"]["binance"]["rest"]
        assert (rest["refused 429"], rest["refused 418"], rest["while_refused"]) == (1, 1, 1)


async def test_the_server_pings_and_cuts_off_who_does_not_answer():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench:
        async with bench.ws() as socket:
            await subscribe(socket, "btcusdt@trade")
            [connection] = bench.simulator.hubs["binance"].connections
            for now[0] in (21.0, 42.0, 63.0, 84.0, 105.0):
                await until(lambda: connection.pong_s == now[0])  # the client answers by itself
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(
            b"GET /binance/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        now[0] += 81.0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert bench.simulator.state()["exchanges"]["binance"]["counts"]["unanswered"] == 1
        writer.close()


async def test_who_comes_late_hears_only_what_is_new_and_nobody_hears_it_twice():
    async with running() as bench, bench.ws() as first:
        await subscribe(first, "btcusdt@trade")
        await bench.go_on(5_000)
        early = (await bench.data(first))["btcusdt@trade"]
        async with bench.ws() as second:
            await subscribe(second, "btcusdt@trade")
            await bench.go_on(5_000)
            ones, others = (await bench.data(first))["btcusdt@trade"], (await bench.data(second))["btcusdt@trade"]
        assert ones == others
        assert ones[0]["t"] == early[-1]["t"] + 1
