"""Every fault fires, says how often it did, and breaks nothing but what it was asked to break."""

import asyncio
import json
from itertools import pairwise

import aiohttp
import pytest
from simulating import exact, running, subscribe, until
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage

from simulator._malformed import MALFORMED

TRADES = "btcusdt@trade"


def ids(frames):
    return [json.loads(frame)["data"]["t"] for frame in frames]


async def fired(bench, place=-1):
    status, state = await bench.control("/_state")
    assert status == 200
    return state["faults"][place]["fired"]


async def test_drop_resets_every_socket_without_a_closing_handshake():
    async with running() as bench, bench.ws() as one, bench.ws("/public/ws", "binance_futures") as other:
        await subscribe(one, TRADES)
        await subscribe(other, TRADES)
        status, body = await bench.control("/_fault", {"kind": "drop", "exchange": "binance"})
        assert (status, body["fired"]) == (200, 1)
        with pytest.raises(ConnectionClosedError) as closed:
            await one.recv()
        assert closed.value.rcvd is None
        await subscribe(other, "ethusdt@trade")  # the other exchange goes on


async def test_mute_sends_no_data_but_answers_requests_and_pings():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("mute", exchange="binance")
        await bench.go_on(5_000)
        assert await bench.received(socket) == []
        await (await socket.ping())
        await subscribe(socket, "ethusdt@trade", name=2)
        assert await fired(bench) > 0
        await bench.control("/_reset", {})
        await bench.go_on(5_000)
        assert set(await bench.data(socket)) == {TRADES, "ethusdt@trade"}


async def test_one_symbol_of_one_channel_can_be_mute_among_busy_ones():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES, "ethusdt@trade", "btcusdt@kline_1m")
        bench.fault("mute", channel="trades", symbol="BTCUSDT")
        await bench.go_on(5_000)
        assert set(await bench.data(socket)) == {"ethusdt@trade", "btcusdt@kline_1m"}
        assert await fired(bench) > 0


async def test_skipped_ids_are_missing_on_the_stream_and_there_in_the_history():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        [last] = await bench.rows("/api/v3/trades?symbol=BTCUSDT&limit=1")
        first = last["id"] + 5
        bench.fault("skip", symbol="BTCUSDT", from_id=first, to_id=first + 9)
        await bench.go_on(20_000)
        found = ids(await bench.received(socket))
        assert sorted(set(range(last["id"] + 1, found[-1] + 1)) - set(found)) == list(range(first, first + 10))
        assert await fired(bench) == 10
        rows = await bench.rows(f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first}&limit=10")
        assert [row["id"] for row in rows] == list(range(first, first + 10))


async def test_a_skip_of_so_many_messages_names_the_ids_it_left_out():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("skip", count=7)
        await bench.go_on(20_000)
        found = ids(await bench.received(socket))
        left_out = [name for name, _ in bench.simulator.state()["faults"][0]["ids"]]
        assert left_out == list(range(found[0] - 7, found[0]))


async def test_duplicates_come_twice_and_only_so_often():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("duplicate", count=5)
        await bench.go_on(20_000)
        found = ids(await bench.received(socket))
        assert len(found) - len(set(found)) == 5
        assert found == sorted(found)


async def test_reordered_messages_come_behind_their_follower_and_none_is_lost():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("reorder", count=4)
        await bench.go_on(20_000)
        found = ids(await bench.received(socket))
        assert sorted(found) == list(range(min(found), max(found) + 1))
        assert sum(left > right for left, right in pairwise(found)) == 4


async def test_delayed_messages_come_later_in_their_order():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        fault = bench.fault("delay", seconds=1.0, delay_ms=2_000)
        await bench.go_on(10_000)
        assert await bench.received(socket) == []
        now[0] = 1.0
        await bench.go_on(10_000)
        early = ids(await bench.received(socket))
        now[0] = 2.0
        await bench.go_on(0)
        late = ids(await bench.received(socket))
        assert len(late) == fault.fired > 0
        assert late == list(range(early[0] - len(late), early[0]))


@pytest.mark.parametrize("variant", sorted(MALFORMED))
async def test_a_malformed_frame_comes_beside_the_good_one_which_is_not_lost(variant):
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("malformed", variant=variant, count=1)
        await bench.go_on(10_000)
        bad, *good = await bench.received(socket)
        found = ids(good)
        assert found == list(range(found[0], found[0] + len(found)))
        body = bad if isinstance(bad, bytes) else bad.encode()
        assert body != good[0].encode()
        assert await fired(bench) == 1


async def test_malformed_frames_of_every_kind_come_in_turn():
    async with running(rate=600.0) as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("malformed", count=len(MALFORMED))
        await bench.go_on(10_000)
        frames = await bench.received(socket)
        assert len({frames[2 * place] for place in range(len(MALFORMED))}) == len(MALFORMED)


async def test_a_huge_frame_is_as_large_as_asked():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("huge", size=3_000_000, count=1)
        await bench.go_on(2_000)
        assert max(map(len, await bench.received(socket))) > 3_000_000


async def test_a_shutdown_is_announced_and_then_happens():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        assert bench.fault("shutdown", seconds=10.0).fired == 1
        message = json.loads(await socket.recv())
        assert message == {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": bench.clock.ms}}
        await bench.go_on(5_000)
        assert await bench.received(socket)
        now[0] = 10.0
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd.code == 1001


async def test_refused_connections_are_reset_as_long_as_asked():
    async with running() as bench:
        bench.fault("refuse", exchange="binance", count=2)
        for _ in range(2):
            with pytest.raises((InvalidMessage, OSError)):
                await bench.ws()
        async with bench.ws() as socket:
            await subscribe(socket, TRADES)
        assert await fired(bench) == 2


@pytest.mark.parametrize(
    ("kind", "status"), [("rest_429", 429), ("rest_418", 418), ("rest_500", 500), ("rest_html", 200)]
)
async def test_rest_faults_answer_wrongly_so_many_times_and_then_rightly(kind, status):
    async with running() as bench:
        bench.fault(kind, exchange="binance", count=2, retry_after=7)
        for _ in range(2):
            got, body, headers = await bench.get("/api/v3/time")
            assert got == status
            if kind in ("rest_429", "rest_418"):
                assert headers["Retry-After"] == "7"
                assert body["code"] == -1003
            else:
                assert isinstance(body, str)
        assert (await bench.get("/api/v3/time"))[0] == 200
        assert (await bench.get("/fapi/v1/time", "binance_futures"))[0] == 200
        assert await fired(bench) == 2


async def test_requests_sent_in_spite_of_a_refusal_are_counted():
    now = [0.0]
    async with running(monotonic=lambda: now[0]) as bench:
        bench.fault("rest_429", exchange="binance", seconds=5.0)
        for _ in range(3):
            await bench.get("/api/v3/time")
        now[0] = 5.0
        assert (await bench.get("/api/v3/time"))[0] == 200
        assert bench.simulator.state()["exchanges"]["binance"]["rest"]["while_refused"] == 2


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_go_on():
    async with running(rate=5_000.0, symbols=1) as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=1_024)
        writer.write(
            b"GET /binance/ws/btcusdt@trade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        count = 0
        state = bench.simulator.hubs["binance"]
        for _ in range(100):
            await bench.go_on(10_000)
            count += len(await bench.received(socket))
            if state.counts["slow"]:
                break
        assert state.counts["slow"] == 1
        assert len(state.connections) == 1
        assert count > 10_000
        writer.close()


async def test_an_impossible_fault_is_refused_with_its_reason():
    async with running() as bench:
        for body in ({"kind": "explode"}, {"kind": "drop", "exchange": "nyse"}, {"kind": "mute", "colour": 1}):
            status, answer = await bench.control("/_fault", body)
            assert status == 400
            assert answer["error"]
        assert (await bench.control("/_fault", {"kind": "malformed", "variant": "odd"}))[0] == 400


async def test_the_truth_equals_what_the_history_says():
    async with running() as bench:
        rows = await bench.rows("/api/v3/trades?symbol=BTCUSDT&limit=500")
        first, last = rows[0]["id"], rows[-1]["id"]
        for symbol in ("BTCUSDT", "BTC-USDT"):
            query = f"/_truth?exchange=binance&symbol={symbol}&from_id={first}&to_id={last}"
            status, truth = await bench.control(query)
            assert status == 200
            assert (truth["count"], truth["from_ms"], truth["to_ms"]) == (500, rows[0]["time"], rows[-1]["time"])
            assert exact([truth["quantity"]]) == exact(row["qty"] for row in rows)
            assert exact([truth["value"]]) == exact(row["quoteQty"] for row in rows)
            assert truth["buyer_maker"] == sum(row["isBuyerMaker"] for row in rows)
        start, end = rows[10]["time"], rows[400]["time"]
        _, truth = await bench.control(f"/_truth?exchange=binance&symbol=BTCUSDT&from={start}&to={end}")
        assert truth["count"] == sum(start <= row["time"] <= end for row in rows)


async def test_the_truth_of_futures_counts_aggregates():
    async with running() as bench:
        rows = await bench.rows("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=300", "binance_futures")
        query = f"symbol=BTC-USDT-PERP&from_id={rows[0]['a']}&to_id={rows[-1]['a']}"
        _, truth = await bench.control(f"/_truth?exchange=binance_futures&{query}")
        assert (truth["unit"], truth["count"]) == ("aggregate", 300)
        assert exact([truth["quantity"]]) == exact(row["q"] for row in rows)
        assert truth["buyer_maker"] == sum(row["m"] for row in rows)
        assert (await bench.control("/_truth?exchange=binance&symbol=NOPE"))[0] == 404
        assert (await bench.control("/_truth?exchange=binance&symbol=BTCUSDT&from_id=x"))[0] == 400


async def test_what_waits_for_a_fault_is_sent_when_faults_are_cleared():
    async with running() as bench, bench.ws() as socket:
        await subscribe(socket, TRADES)
        bench.fault("delay", seconds=3_600.0, delay_ms=3_600_000)
        await bench.go_on(10_000)
        assert await bench.received(socket) == []
        bench.simulator.reset()
        await bench.go_on(0)
        found = ids(await bench.received(socket))
        assert found == list(range(found[0], found[0] + len(found)))


async def test_an_unknown_exchange_or_path_is_not_found():
    async with running() as bench:
        assert (await bench.get("/api/v3/time", "nyse"))[0] == 404
        assert (await bench.get("/api/v9/time"))[0] == 404
        async with bench.http.get(f"http://127.0.0.1:{bench.port}/") as response:
            assert response.status == 404
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await bench.http.ws_connect(f"ws://127.0.0.1:{bench.port}/binance/nowhere")
        await until(lambda: not bench.simulator.hubs["binance"].connections)
