"""`flowtape doctor` against simulated exchanges and broken hosts, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from flowtape import probe
from flowtape.doctor import _others, examine
from producers._exchange import load as declared
from schemas.settings import ExchangeSettings, load
from schemas.symbols import EXCHANGES
from simulator._faults import Fault
from simulator._market import Market
from simulator._run import serve
from tests.conftest import free_port
from tests.simulating import running


def variables(folder, exchange, address, *, ws="ws", http="http"):
    """The environment of a doctor who finds ``exchange`` at ``address``."""
    prefix = f"FLOWTAPE_EXCHANGES_SIM_{exchange.upper()}"
    return {
        "FLOWTAPE_DATA_DIR": f'"{folder}"', f"{prefix}_SYMBOLS": '["*"]',
        f"{prefix}_WS_URL": f"{ws}://{address}", f"{prefix}_REST_URL": f"{http}://{address}",
    }  # fmt: skip


async def report(folder, exchange, address, **schemes):
    settings = load("", variables(folder, exchange, address, **schemes), "test")
    return (await examine(settings, [f"sim_{exchange}"]))[f"sim_{exchange}"]


@pytest.fixture
async def simulator():
    async with serve(Market(1, 3, 30.0)) as (served, port):
        yield served, port


@asynccontextmanager
async def answering(status, text="", content_type="text/html"):
    """A host that says the same to everything; its address."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type=content_type)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_an_exchange_that_answers_has_no_problem_and_a_clock(simulator, tmp_path, exchange) -> None:
    it = await report(tmp_path, exchange, f"127.0.0.1:{simulator[1]}/{exchange}")
    assert it.problems == []
    assert it.rest.status == 200
    assert it.websocket
    assert {found.status for found in it.websocket} == {101}
    assert it.clock is not None
    # Two exchanges tell the time in their headers only, to the second.
    told = "Date header" if exchange in ("hyperliquid", "kraken_futures") else "server time"
    assert it.clock.source == told


async def test_a_refused_connection_is_called_that(tmp_path) -> None:
    it = await report(tmp_path, "kraken", f"127.0.0.1:{free_port()}")
    assert len(it.problems) == 2
    assert all("connection refused" in problem for problem in it.problems)
    assert it.clock is None
    assert it.blocked == []


async def test_a_ban_is_told_obeyed_and_remembered(simulator, tmp_path) -> None:
    served, port = simulator
    fault = served.fault(Fault(kind="rest_418", exchange="binance", seconds=60, retry_after=40))
    address = f"127.0.0.1:{port}/binance"
    it = await report(tmp_path, "binance", address)
    assert fault.fired == 1, "not run: no request met the ban"
    assert it.blocked == [f"127.0.0.1:{port}"]
    assert "banned (418)" in it.problems[0]
    assert "again in 40 s" in it.problems[0]
    again = await report(tmp_path, "binance", address)
    assert fault.fired == 1
    assert "not asked" in again.rest.problem
    assert again.websocket[0].status == 101


async def test_a_wrong_clock_is_told_with_its_direction(tmp_path) -> None:
    async with running() as bench:
        bench.clock.ms = 1_900_000_000_000
        it = await report(tmp_path, "okx", f"127.0.0.1:{bench.port}/okx")
        assert len(it.problems) == 1
        assert "behind the exchange's" in it.problems[0]
        bench.clock.ms = 1_700_000_000_000
        it = await report(tmp_path, "okx", f"127.0.0.1:{bench.port}/okx")
        assert "ahead of the exchange's" in it.problems[0]
        assert it.clock.offset_ms > 0


async def test_a_name_without_address_is_a_matter_of_dns(tmp_path) -> None:
    it = await report(tmp_path, "kraken", "nosuch.invalid", ws="wss", http="https")
    assert len(it.problems) == 2
    assert all("DNS" in problem for problem in it.problems)


async def test_a_host_that_does_not_speak_tls_is_called_that(simulator, tmp_path) -> None:
    it = await report(tmp_path, "kraken", f"127.0.0.1:{simulator[1]}/kraken", ws="wss", http="https")
    assert len(it.problems) == 2
    assert all("TLS" in problem for problem in it.problems)


async def test_a_host_that_says_nothing_is_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(probe, "ANSWER_S_MAX", 0.3)
    held = []
    server = await asyncio.start_server(lambda *streams: held.append(streams), "127.0.0.1", 0)
    async with server:
        it = await report(tmp_path, "kraken", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert [found.problem for found in (it.rest, *it.websocket)] == ["no answer in 0.3 s"] * 2
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize(
    ("status", "text", "rest", "websocket", "blocked"),
    [
        (451, "", "blocked (451)", "blocked (451)", True),
        (403, "", "blocked (403)", "blocked (403)", True),
        (200, "<html>Maintenance</html>", "a page instead of data: <html>Maintenance", "answered 200 instead", False),
        (200, '{"error":["EService:Unavailable"]}', "EService:Unavailable", "answered 200 instead", False),
        (200, '{"error":[],"result":{}}', "no time in it", "answered 200 instead", False),
        (503, "busy", "answered 503: busy", "answered 503 instead", False),
    ],
)
async def test_what_a_host_says_is_put_into_words(tmp_path, status, text, rest, websocket, blocked) -> None:
    async with answering(status, text) as address:
        it = await report(tmp_path, "kraken", address)
    assert rest in it.rest.problem
    assert websocket in it.websocket[0].problem
    assert it.blocked == ([address] if blocked else [])


async def command(folder, *arguments, **extra):
    """``flowtape doctor`` as a process: its code, output and errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWTAPE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowtape", "doctor", *arguments, cwd=folder, env={**environment, **extra},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_ends_with_0_where_all_is_well_and_with_1_where_not(simulator, tmp_path) -> None:
    address = f"127.0.0.1:{simulator[1]}"
    extra = variables(tmp_path, "kraken", f"{address}/kraken") | variables(tmp_path, "bybit", f"{address}/nosuch")
    code, out, _ = await command(tmp_path, "sim_kraken", "--json", **extra)
    assert (code, json.loads(out)["ok"]) == (0, True)
    code, out, _ = await command(tmp_path, "--json", **extra)
    found = json.loads(out)
    assert (code, found["ok"], [*found["exchanges"]]) == (1, False, ["sim_bybit", "sim_kraken"])
    assert found["exchanges"]["sim_kraken"]["problems"] == []
    assert "answered 404" in found["exchanges"]["sim_bybit"]["rest"]["problem"]
    code, out, _ = await command(tmp_path, **extra)
    assert code == 1
    assert "sim_kraken" in out
    assert "! sim_bybit: " in out
    code, _, err = await command(tmp_path, "mtgox")
    assert code == 2
    assert "unknown exchange 'mtgox'" in err


def test_every_host_of_an_exchange_is_asked_once_and_with_an_override_only_that_one() -> None:
    def hosts(exchange: str, its: ExchangeSettings) -> list[str]:
        return [urlsplit(one.instruments[0].url).netloc for one in _others(declared(exchange).rest, its)]

    assert hosts("binance_futures", ExchangeSettings()) == ["dapi.binance.com"]
    assert hosts("binance_futures", ExchangeSettings(rest_url="http://127.0.0.1:9")) == []
    assert [name for name in EXCHANGES if hosts(name, ExchangeSettings())] == ["binance_futures"]
