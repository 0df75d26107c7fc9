"""The connection loop over real sockets, with both transports, against a scripted exchange."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

import producers
from producers._connection import BACKOFF_S_MAX, backoff_s
from producers._exchange import every
from tests.producing import NOW, Script, connected, frame, idle, until

pytestmark = pytest.mark.parametrize("transport", ["websockets", "picows"])


def _plays(*frames: str | bytes, then: str = "idle") -> object:
    async def scene(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        for one in frames:
            await socket.send(one)
        if then == "idle":
            await socket.wait_closed()
        elif then == "abort":
            await asyncio.sleep(0.05)
            socket.transport.abort()

    return scene


async def _reads(socket: ServerConnection, script: Script) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await script.request(socket)


async def test_events_carry_the_time_of_arrival_and_the_order_of_the_socket(transport: str) -> None:
    script = Script(_plays(*map(frame, range(200))))
    async with script.serving(), connected(script, transport) as (_, sink):
        await until(lambda: len(sink.events) == 200)
    assert sink.ids() == list(range(200))
    assert all(event.received >= NOW for event in sink.events)
    assert script.requests[0] == {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}


async def test_a_dropped_socket_is_opened_again_and_nothing_that_came_is_lost(transport: str) -> None:
    script = Script(_plays(frame(1), frame(2), then="abort"), _plays(frame(3)))
    async with script.serving(), connected(script, transport) as (connection, sink):
        await until(lambda: len(sink.events) == 3)
    assert sink.ids() == [1, 2, 3]
    assert connection.state["reconnects"] == 1


async def test_a_socket_that_only_answers_pings_is_given_up(transport: str) -> None:
    script = Script(_plays(*map(frame, range(50))), _plays(frame(50)))
    async with script.serving(), connected(script, transport) as (connection, sink):
        await until(lambda: 50 in sink.ids())
    assert connection.state["reason"] in ("the whole connection is silent", "stopped")
    assert script.connections >= 2


async def test_nothing_at_all_after_subscribing_leads_to_a_new_connection(transport: str) -> None:
    script = Script(_plays(), _plays(frame(1)))
    async with script.serving(), connected(script, transport, first_s_max=5.0) as (_, sink):
        await until(lambda: sink.ids() == [1])
    assert script.connections >= 2


async def test_one_silent_symbol_among_busy_ones_is_found_and_asked_for_again(transport: str) -> None:
    async def scene(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        reading = asyncio.create_task(_reads(socket, script))
        try:
            for number in range(100_000):
                if number < 100:
                    await socket.send(frame(number, "ETHUSDT"))
                await socket.send(frame(number))
                await asyncio.sleep(0.002)
        finally:
            reading.cancel()

    script = Script(scene)
    async with script.serving(), connected(script, transport, ("BTCUSDT", "ETHUSDT")):
        await until(lambda: script.connections >= 2)  # asked again in vain, it is worth a new connection
    asked = [(request["method"], request["params"]) for request in script.requests]
    assert asked[1:3] == [("UNSUBSCRIBE", ["ethusdt@trade"]), ("SUBSCRIBE", ["ethusdt@trade"])]


async def test_a_frame_that_does_not_parse_is_quarantined_byte_for_byte_and_the_feed_goes_on(transport: str) -> None:
    bad = '{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","p":"é'
    nan = frame(2, price="NaN")
    script = Script(_plays(frame(1), bad, nan, b"\x00\xff\x80", frame(3)))
    async with script.serving(), connected(script, transport) as (connection, sink):
        await until(lambda: len(sink.events) == 2 and len(sink.letters) == 3)
    assert sink.ids() == [1, 3]
    assert [letter[:3] for letter in sink.letters] == [
        ("trade", "binance", bad.encode()),
        ("trade", "binance", nan.encode()),
        ("frame", "binance", b"\x00\xff\x80"),
    ]
    assert script.connections == 1
    assert connection.state["bad_frames"] == 3


async def test_a_frame_above_the_bound_ends_the_connection_and_not_the_feed(transport: str) -> None:
    script = Script(_plays(frame(1), "x" * 200_000), _plays(frame(2)))
    async with script.serving(), connected(script, transport, frame_bytes_max=100_000) as (_, sink):
        await until(lambda: sink.ids() == [1, 2])
    assert not sink.letters


async def test_a_fragmented_frame_is_put_together(transport: str) -> None:
    whole = frame(1)

    async def scene(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        await socket.send([whole[:20], whole[20:100], whole[100:]])
        await socket.wait_closed()

    script = Script(scene)
    async with script.serving(), connected(script, transport) as (_, sink):
        await until(lambda: sink.ids() == [1])


async def test_of_a_refused_request_the_culprit_is_found_and_the_others_are_subscribed(transport: str) -> None:
    async def scene(socket: ServerConnection, script: Script) -> None:
        while True:
            request = await script.request(socket, acknowledge=False)
            if "badusdt@trade" in request["params"]:
                await socket.send(f'{{"error":{{"code":2,"msg":"Invalid request"}},"id":{request["id"]}}}')
            else:
                await socket.send(frame(len(script.requests), request["params"][0].partition("@")[0].upper()))

    script = Script(scene)
    natives = ("BTCUSDT", "BADUSDT", "ETHUSDT")
    async with script.serving(), connected(script, transport, natives) as (connection, sink):
        await until(lambda: len(sink.events) >= 2 and connection.state["rejected"])
    assert connection.state["rejected"] == ["badusdt@trade"]
    assert {event.symbol for event in sink.events} == {"BTC-USDT", "ETH-USDT"}


async def test_topics_are_asked_for_in_requests_of_the_allowed_size_and_pace(transport: str) -> None:
    async def scene(socket: ServerConnection, script: Script) -> None:
        while True:
            await script.request(socket)

    script, pauses = Script(scene), []
    natives = tuple(f"A{n}USDT" for n in range(7))
    async with (
        script.serving(),
        connected(script, transport, natives, pauses, topics_per_request=3, requests_per_s=4.0),
    ):
        await until(lambda: len(script.requests) == 3)
    assert [len(request["params"]) for request in script.requests] == [3, 3, 1]
    assert pauses.count(0.25) >= 3


async def test_an_announced_shutdown_opens_the_new_connection_before_the_old_one_goes(transport: str) -> None:
    async def goes(socket: ServerConnection, script: Script) -> None:
        await script.request(socket)
        await socket.send(frame(1))
        await socket.send('{"e":"serverShutdown","E":1767225600000}')
        await socket.wait_closed()

    script = Script(goes, _plays(frame(2)))
    async with script.serving(), connected(script, transport) as (connection, sink):
        await until(lambda: sink.ids() == [1, 2] and connection.state["reconnects"])
    assert script.open_max == 2


async def test_a_connection_is_replaced_before_its_time_is_over_new_one_first_and_nothing_is_missed(
    transport: str,
) -> None:
    began = time.monotonic()

    async def market(socket: ServerConnection, script: Script) -> None:
        """What trades goes to whoever listens at that moment."""
        await script.request(socket)
        sent = int((time.monotonic() - began) * 200)
        while True:
            now = int((time.monotonic() - began) * 200)
            for number in range(sent, now):
                await socket.send(frame(number))
            sent = now
            await asyncio.sleep(0.005)

    script = Script(market)
    async with script.serving(), connected(script, transport, lifetime_s=60.0) as (connection, sink):
        await until(lambda: connection.state["reconnects"] >= 2)
        reached = max(sink.ids())
        await until(lambda: max(sink.ids()) > reached + 20)
        assert connection.state["reason"] == "planned, before the exchange cuts it"
    ids = set(sink.ids())
    assert script.open_max == 2
    assert len(sink.ids()) > len(ids), "not run: the sockets did not overlap"
    assert ids == set(range(min(ids), max(ids) + 1))


async def test_refused_connections_are_retried_for_ever_with_a_growing_capped_pause(transport: str) -> None:
    script, pauses = Script(idle), []
    async with script.serving():
        pass  # nothing listens there any more
    async with connected(script, transport, pauses=pauses) as (connection, _):
        await until(lambda: connection.state["reconnects"] >= 5)
    waits = [pause for pause in pauses if pause > 0.0]
    assert waits == sorted(waits) or max(waits) <= BACKOFF_S_MAX
    assert len(waits) >= 4


def test_the_pause_before_a_retry_is_capped_and_jittered(transport: str) -> None:
    class Always:
        def __init__(self, share: float) -> None:
            self.share = share

        def uniform(self, low: float, high: float) -> float:
            return low + (high - low) * self.share

    for attempt in (1, 3, 10, 10_000):
        low, high = backoff_s(attempt, Always(0.0)), backoff_s(attempt, Always(1.0))  # type: ignore[arg-type]  # a die
        assert 0.0 < low < high <= BACKOFF_S_MAX
    assert backoff_s(10_000, Always(1.0)) == BACKOFF_S_MAX  # type: ignore[arg-type]  # a die


def test_the_machinery_names_no_exchange(transport: str) -> None:
    words = {part for exchange in every() for part in exchange.split("_")} - {"futures"}
    for path in Path(producers.__file__).parent.glob("_*.py"):
        if not any(path.name.startswith(f"_{word}") for word in words):
            found = set(re.findall(r"[a-z]+", path.read_text(encoding="utf-8").lower()))
            assert not words & found, f"{path.name} names {words & found}"
