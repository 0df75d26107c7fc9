"""The benchmark server sends exactly the lines it was given, and the loop over them makes new ids."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
from websockets.asyncio.client import connect

from simulator._blast import blast, chunks, looped
from simulator._run import simulate

LINES = [
    json.dumps({"stream": f"{s.lower()}@trade", "data": {"e": "trade", "s": s, "t": t, "p": "1.5"}}).encode()
    for t, s in enumerate(["AUSDT", "BUSDT", "AUSDT", "AUSDT", "BUSDT"], 100)
]


@asynccontextmanager
async def blasting(data, **more):
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(blast(data, stop=stop, ready=port.set_result, **more))
    yield await port
    stop.set()
    await task


async def test_every_line_arrives_once_in_order_after_the_subscription_and_pings_are_answered():
    lines = list(looped(LINES, 4_000))
    done = asyncio.Event()
    async with (
        blasting(chunks(lines), sent=done.set) as port,
        connect(f"ws://127.0.0.1:{port}/stream", compression=None) as socket,
    ):
        await (await socket.ping())
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["x" * 300], "id": 9}))
        assert json.loads(await socket.recv()) == {"result": None, "id": 9}
        assert [await socket.recv(decode=False) for _ in lines] == lines
        await done.wait()
        await (await socket.ping())


async def test_streams_in_the_url_begin_at_once_and_bodies_are_served():
    async with blasting(chunks(LINES), bodies={"/api/v3/exchangeInfo": b'{"symbols":[]}'}) as port:
        async with connect(f"ws://127.0.0.1:{port}/stream?streams=a", compression=None) as socket:
            assert [await socket.recv(decode=False) for _ in LINES] == LINES
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/api/v3/exchangeInfo?symbol=A") as response:
                assert (response.status, await response.json()) == (200, {"symbols": []})
            async with http.get(f"http://127.0.0.1:{port}/other") as response:
                assert response.status == 404


def test_looped_ids_are_unique_and_go_on_within_each_symbol():
    data = [json.loads(line)["data"] for line in looped(LINES, 50)]
    names = [(row["s"], row["t"]) for row in data]
    assert len(set(names)) == len(names) == 250
    for symbol in ("AUSDT", "BUSDT"):
        own = [t for s, t in names if s == symbol]
        assert own == sorted(own)


async def test_simulate_serves_on_a_free_port_until_it_is_told_to_stop():
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(simulate(seed=1, symbols=3, rate=20.0, stop=stop, ready=port.set_result))
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{await port}/_state"
        async with http.get(url) as response:
            assert {"binance", "binance_futures"} <= set((await response.json())["exchanges"])
    stop.set()
    await task
