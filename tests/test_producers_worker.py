"""A whole producer: its symbols, its registry, its REST budget, against real NATS and a scripted exchange."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from nats.aio.client import Client
from nats.js.api import KeyValueConfig

from producers._budget import Budget
from producers._exchange import Request, Rest, directory, load
from producers._registry import Registry, fetch
from producers._rest import RestClient, RestError, redirected
from producers._run import klines, produce
from producers._worker import Worker
from schemas.events import Clock, OpenInterest, decode_any
from schemas.instruments import Instrument, decode, encode
from schemas.settings import ConfigError, Duration, ExchangeSettings, PollSettings, Settings, TradesSettings
from tests.producing import NOW, frame, nats_server, stored, surroundings, trade_ids, until

LISTED = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def _listing(natives: tuple[str, ...] = LISTED, tick: str = "0.01") -> dict[str, Any]:
    filters = [{"filterType": "PRICE_FILTER", "tickSize": tick}, {"filterType": "LOT_SIZE", "stepSize": "0.001"}]
    return {
        "symbols": [
            {"symbol": n, "baseAsset": n[:-4], "quoteAsset": n[-4:], "status": "TRADING", "filters": filters}
            for n in natives
        ]
    }


class Venue:
    """REST answers by path, and a socket that sends each subscribed symbol some trades."""

    def __init__(self, answers: dict[str, Callable[[], Any]] | None = None) -> None:
        self.answers = answers if answers is not None else {"/api/v3/exchangeInfo": lambda: _json(_listing())}
        self.asked: list[str] = []
        self.subscribed: list[str] = []
        self.trades = 20
        self.port = 0

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = self.answers.get(request.path)
        found = answer() if answer else web.Response(status=404, text="{}")
        return found if isinstance(found, web.Response) else await found

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            wanted = msgspec.json.decode(message.data)
            await socket.send_json({"result": None, "id": wanted["id"]})
            if wanted["method"] == "SUBSCRIBE":
                self.subscribed += wanted["params"]
                for number in range(self.trades):
                    for topic in wanted["params"]:
                        await socket.send_str(frame(number, topic.partition("@")[0].upper()))
        return socket

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Venue]:
        application = web.Application()
        application.router.add_get("/stream", self._socket)
        application.router.add_get("/market/stream", self._socket)
        application.router.add_get("/{rest:.*}", self._rest)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


def _json(value: object, status: int = 200, **headers: str) -> web.Response:
    text = msgspec.json.encode(value).decode()
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    with nats_server(tmp_path / "nats") as server:
        client = await server.connect()
        await server.streams(client)
        await client.jetstream().create_key_value(KeyValueConfig("instruments", history=8))
        yield client
        await client.close()


def _settings(venue: Venue, folder: Path, exchange: str = "binance", **its: Any) -> Settings:
    its = {"symbols": ["BTC-USDT"], "channels": ["trades"]} | its
    urls = {"ws_url": f"ws://127.0.0.1:{venue.port}", "rest_url": f"http://127.0.0.1:{venue.port}"}
    return Settings(
        data_dir=str(folder / "data"), exchanges={exchange: ExchangeSettings(**its, **urls)},
        poll=PollSettings(open_interest=Duration(1_000_000)), trades=TradesSettings(backfill=Duration(0)),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def producing(
    settings: Settings, client: Client, exchange: str = "binance", run: Any = produce
) -> AsyncIterator[dict[str, Any]]:
    stop, health = asyncio.Event(), dict[str, Any]()
    task = asyncio.create_task(run(exchange, settings, client, stop, health))
    try:
        yield health
    finally:
        stop.set()
        await task


@pytest.mark.parametrize("transport", ["websockets", "picows"])
async def test_trades_go_from_the_socket_to_the_log_once_and_the_clock_follows(
    client: Client, tmp_path: Path, transport: str
) -> None:
    async with Venue().open() as venue:
        settings = _settings(venue, tmp_path, symbols=["BTC-USDT", "ETH/USDT"], transport=transport)
        async with producing(settings, client) as health:
            await until(lambda: health.get("exchange_time") and health["outbox"]["events"] >= 41)
    messages = await stored(client, "MD_TRADE")
    assert trade_ids(messages) == trade_ids(messages, "ETH-USDT") == list(range(20))
    clocks = [decode_any(m.data) for m in messages if m.subject == "md.clock.binance"]
    assert [type(clock) for clock in clocks] == [Clock]
    assert clocks[0].timestamp == NOW + 19_000
    assert health["symbols"] == 2


async def test_ingest_does_not_wait_for_rest(client: Client, tmp_path: Path) -> None:
    async with Venue({}).open() as venue, producing(_settings(venue, tmp_path), client) as health:
        await until(lambda: health.get("outbox", {}).get("events", 0) >= 20)
    assert trade_ids(await stored(client, "MD_TRADE")) == list(range(20))


async def test_without_rest_the_registrys_last_version_explains_symbols(client: Client, tmp_path: Path) -> None:
    odd = Instrument("binance", "BTC-USDT", "ODDNAME", "BTC", "USDT", "USDT", "spot")
    await Registry(client, "binance", lambda: NOW).store([odd])
    async with Venue({}).open() as venue, producing(_settings(venue, tmp_path), client):
        await until(lambda: venue.subscribed)
    assert venue.subscribed[0] == "oddname@trade"


async def test_an_unknown_symbol_is_named_and_the_others_are_served(client: Client, tmp_path: Path) -> None:
    async with Venue().open() as venue:
        settings = _settings(venue, tmp_path, symbols=["BTC-USDT", "BTCC-USDT"])
        async with producing(settings, client) as health:
            await until(lambda: health.get("unknown") == ["BTCC-USDT"] and health["outbox"]["events"] >= 20)
    assert 0 in trade_ids(await stored(client, "MD_TRADE"))


async def test_a_configuration_of_unknown_symbols_only_is_an_error_with_near_matches(
    client: Client, tmp_path: Path
) -> None:
    async with Venue().open() as venue:
        with pytest.raises(ConfigError, match=r"exchanges\.binance\.symbols.*near are BTC-USDT"):
            await produce(
                "binance", _settings(venue, tmp_path, symbols=["BTC-USDD"]), client, asyncio.Event(), {}
            )  # fmt: skip


async def test_a_star_takes_what_trades_most_up_to_the_bound(client: Client, tmp_path: Path) -> None:
    volumes = [{"symbol": n, "quoteVolume": str(v)} for n, v in zip(LISTED, (5, 1, 9), strict=True)]
    answers = {
        "/api/v3/exchangeInfo": lambda: _json(_listing()),
        "/api/v3/ticker/24hr": lambda: _json(volumes),
    }
    async with Venue(answers).open() as venue:
        async with producing(_settings(venue, tmp_path, symbols=["*"], max_symbols=2), client) as health:
            await until(lambda: health.get("symbols") == 2)
        assert sorted(venue.subscribed) == ["btcusdt@trade", "solusdt@trade"]


async def test_open_interest_is_polled_once_a_slot(client: Client, tmp_path: Path) -> None:
    answers = {
        "/fapi/v1/exchangeInfo": lambda: _json({"symbols": []}),
        "/fapi/v1/openInterest": lambda: _json({"symbol": "BTCUSDT", "openInterest": "84617.188", "time": NOW // 1000}),
    }
    async with Venue(answers).open() as venue:
        settings = _settings(
            venue, tmp_path, "binance_futures", symbols=["BTC-USDT-PERP"], channels=["open_interest"]
        )  # fmt: skip
        async with producing(settings, client, "binance_futures", klines) as health:
            await until(lambda: health.get("polls", {}).get("open_interest", {}).get("polls", 0) >= 2)
    events = [decode_any(message.data) for message in await stored(client, "MD_OPEN_INTEREST")]
    assert len(events) == 1
    assert isinstance(events[0], OpenInterest)
    assert (events[0].timestamp, events[0].open_interest) == (NOW, 84617.188)


async def test_a_worker_does_not_wait_for_an_answer_or_for_budget_when_it_is_told_to_stop(
    client: Client, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("producers._rest.TIMEOUT_S", 3600.0)
    monkeypatch.setattr("producers._rest.BUDGET_S_MAX", 3600.0)

    async def never() -> None:
        await asyncio.Event().wait()

    def refused() -> web.Response:
        return _json({"code": -1003, "msg": "banned"}, 429, **{"Retry-After": "1800"})

    async with Venue({"/fapi/v1/exchangeInfo": never, "/fapi/v1/openInterest": refused}).open() as venue:
        settings = _settings(
            venue, tmp_path, "binance_futures", symbols=["BTC-USDT-PERP"], channels=["open_interest"]
        )  # fmt: skip
        async with asyncio.timeout(60), producing(settings, client, "binance_futures", klines) as health:
            await until(lambda: {"/fapi/v1/exchangeInfo", "/fapi/v1/openInterest"} <= set(venue.asked))
            await until(lambda: health.get("polls", {}).get("open_interest", {}).get("polls", 0) >= 2)
    assert health["rest"]["banned"] == 1


async def test_an_instrument_list_that_does_not_come_is_asked_for_ever_more_rarely(
    client: Client, tmp_path: Path
) -> None:
    pauses: list[float] = []
    async with Venue({}).open() as venue:
        stop = asyncio.Event()
        around = surroundings("websockets", stop, pauses)
        worker = Worker("binance", ("trades",), "produce", _settings(venue, tmp_path), client, around, {})
        task = asyncio.create_task(worker.run())
        await until(lambda: max(pauses, default=0.0) > 30.0)
        stop.set()
        await task
    assert venue.asked.count("/api/v3/exchangeInfo") <= 10
    assert max(pauses) <= 60.0


async def test_what_is_newly_listed_is_followed_and_what_is_delisted_is_dropped_without_a_restart(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers._worker.REFRESH_S", 0.2)
    listed = ["BTCUSDT", "ETHUSDT"]
    async with Venue({"/api/v3/exchangeInfo": lambda: _json(_listing(tuple(listed)))}).open() as venue:
        settings = _settings(venue, tmp_path, symbols=["BTC-USDT", "ETH-USDT", "SOL-USDT"])
        async with producing(settings, client) as health:
            await until(lambda: health.get("symbols") == 2 and health["unknown"] == ["SOL-USDT"])
            listed.append("SOLUSDT")
            await until(lambda: health["symbols"] == 3 and "solusdt@trade" in venue.subscribed)
            listed.remove("ETHUSDT")
            await until(lambda: health["unknown"] == ["ETH-USDT"] and health["symbols"] == 2)
            listed.clear()
            listed.append("ADAUSDT")  # even when nothing is left the process goes on
            await until(lambda: health["symbols"] == 0)
            listed.append("BTCUSDT")
            await until(lambda: health["symbols"] == 1)
    bucket = await client.jetstream().key_value("instruments")
    states = {
        name: decode((await bucket.get(f"binance.{name}")).value or b"").status for name in ("ETH-USDT", "BTC-USDT")
    }
    assert states == {"ETH-USDT": "delisted", "BTC-USDT": "trading"}


async def test_a_list_missing_a_symbol_once_drops_nothing(client: Client, tmp_path: Path) -> None:
    known = directory(load("binance"), "binance")
    plain = load("binance").instruments(msgspec.json.encode(_listing()))
    assert known.replace(plain) == known.replace(plain[1:]) == known.replace(plain) == []
    assert known.replace(plain[1:]) == []
    assert [it.symbol for it in known.replace(plain[1:])] == ["BTC-USDT"]
    assert known.native("BTC-USDT") is None


async def test_of_two_hosts_one_is_enough_to_know_its_own_symbols(client: Client, tmp_path: Path) -> None:
    listing = _listing(("BTCUSDT",))
    listing["symbols"][0] |= {"marginAsset": "USDT", "contractType": "PERPETUAL"}
    async with Venue({"/fapi/v1/exchangeInfo": lambda: _json(listing)}).open() as venue:
        settings = _settings(venue, tmp_path, "binance_futures", symbols=["BTC-USDT-PERP", "BTC-USD-BTC-PERP"])
        async with producing(settings, client, "binance_futures") as health:
            await until(lambda: health.get("symbols") == 2)
            bucket = await client.jetstream().key_value("instruments")
            await until(lambda: venue.asked.count("/dapi/v1/exchangeInfo") >= 2)
        assert health["unknown"] == [], "a list that did not come calls nothing unknown"
        assert decode((await bucket.get("binance_futures.BTC-USDT-PERP")).value or b"").tick_size == 0.01


class Lists:
    """An exchange's instrument lists, by a part of their URL."""

    def __init__(self, **bodies: Any) -> None:
        self.bodies = bodies

    async def get(self, request: Request, *, share: float = 1.0) -> bytes:
        return msgspec.json.encode(next(body for part, body in self.bodies.items() if part in request.url))


@pytest.mark.parametrize("size", ["0", "-0.5", "inf", "-inf", "nan"])
async def test_a_tick_or_step_that_is_no_size_is_unknown_and_a_contract_without_size_is_left_out(size: str) -> None:
    linear = _listing(("BTCUSDT",), tick=size)
    linear["symbols"][0] |= {"marginAsset": "USDT", "contractType": "PERPETUAL"}
    inverse = [
        {"symbol": f"{coin}USD_PERP", "baseAsset": coin, "quoteAsset": "USD", "marginAsset": coin,
         "contractType": "PERPETUAL", "contractStatus": "TRADING", "contractSize": its, "filters": []}
        for coin, its in (("BTC", "100"), ("ETH", "-0.5"), ("SOL", "inf"), ("XRP", "nan"))
    ]  # fmt: skip
    lists = Lists(fapi=linear, dapi={"symbols": inverse})
    found = {it.symbol: it for it in await fetch(load("binance_futures"), "binance_futures", lists)}
    assert found.keys() == {"BTC-USDT-PERP", "BTC-USD-BTC-PERP"}
    assert (found["BTC-USDT-PERP"].tick_size, found["BTC-USDT-PERP"].quantity_step) == (None, 0.001)
    assert all(decode(encode(it)) == it for it in found.values())


async def test_answers_nested_without_end_are_dead_letters_and_errors_and_end_nothing(
    client: Client, tmp_path: Path
) -> None:
    def nested() -> web.Response:
        return web.Response(text='{"symbols":' + "[" * 5_000)

    async with Venue({"/fapi/v1/exchangeInfo": nested, "/fapi/v1/openInterest": nested}).open() as venue:
        settings = _settings(venue, tmp_path, "binance_futures", symbols=["BTC-USDT-PERP"], channels=["open_interest"])
        async with producing(settings, client, "binance_futures", klines) as health:
            await until(lambda: health.get("polls", {}).get("open_interest", {}).get("errors", 0) >= 2)
            await until(lambda: venue.asked.count("/fapi/v1/exchangeInfo") >= 2)
    assert health["outbox"]["dead"] >= 2


# --- registry --------------------------------------------------------------------------------------------------
async def test_the_registry_writes_a_version_only_when_something_changed_and_keeps_the_row(client: Client) -> None:
    bucket = await client.jetstream().key_value("instruments")
    plain = Instrument("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "USDT", "spot", tick_size=0.01)
    assert await Registry(client, "binance", lambda: 1).store([plain]) == 1
    again = Registry(client, "binance", lambda: 2)
    assert await again.store([plain]) == 0
    entry = await bucket.get("binance.BTC-USDT")
    pinned = msgspec.structs.replace(decode(entry.value or b""), row=5.0)
    await bucket.update("binance.BTC-USDT", msgspec.json.encode(pinned), last=entry.revision)
    changed = msgspec.structs.replace(plain, tick_size=0.1)
    assert await again.store([changed]) == 0, "somebody else wrote in between"
    assert await again.store([changed]) == 1
    last = decode((await bucket.get("binance.BTC-USDT")).value or b"")
    assert (last.tick_size, last.row, last.valid_from) == (0.1, 5.0, 2)


# --- REST ------------------------------------------------------------------------------------------------------
def _client(
    venue: Venue, folder: Path, clock: Callable[[], int], waits: list[float], path: str = ""
) -> RestClient:  # fmt: skip
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    declared = Rest(weight_max=100, problem=load("binance").rest.problem)
    return RestClient(declared, f"http://127.0.0.1:{venue.port}{path}", folder, clock=clock, sleep=sleep)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: web.Response(text="<html>please wait</html>"), "not JSON"),
        (lambda: _json({"code": -1121, "msg": "Invalid symbol."}), "-1121 Invalid symbol"),
        (lambda: web.Response(text='{"code":1,"x":' + "[" * 5_000), "nested too deeply"),
        (lambda: _json({}, 500), "500"),
        (lambda: web.Response(status=302, headers={"Location": "http://elsewhere/"}), "302"),
    ],
)
async def test_an_error_is_told_from_an_answer_whatever_its_status(
    tmp_path: Path, answer: Callable[[], web.Response], reason: str
) -> None:
    async with Venue({"/x": answer}).open() as venue:
        rest = _client(venue, tmp_path, lambda: NOW, [])
        with pytest.raises(RestError, match=reason):
            await rest.get(Request("https://api.example/x"))
        await rest.close()


@pytest.mark.parametrize("status", [403, 418, 429])
async def test_nobody_sends_while_the_venue_has_banned_us(tmp_path: Path, status: int) -> None:
    now = [NOW]
    async with Venue(
        {"/x": lambda: _json({"code": -1003, "msg": "slow"}, status, **{"Retry-After": "300"})}
    ).open() as v:
        first, second = (_client(v, tmp_path, lambda: now[0], []) for _ in range(2))
        with pytest.raises(RestError):
            await first.get(Request("https://api.example/x"))
        for rest in (first, second):
            with pytest.raises(RestError, match="no budget"):
                await rest.get(Request("https://api.example/x"))
        assert len(v.asked) == 1
        now[0] += 301_000_000
        with pytest.raises(RestError, match=str(status)):
            await second.get(Request("https://api.example/x"))
        assert len(v.asked) == 2
        await first.close()
        await second.close()


async def test_exchanges_behind_one_address_have_a_budget_and_a_ban_each(tmp_path: Path) -> None:
    answers = {"/one/x": lambda: _json({}, 429, **{"Retry-After": "300"}), "/other/x": lambda: _json({})}
    async with Venue(answers).open() as venue:
        banned, other = (_client(venue, tmp_path, lambda: NOW, [], path) for path in ("/one", "/other"))
        with pytest.raises(RestError, match="429"):
            await banned.get(Request("https://one.example/x"))
        with pytest.raises(RestError, match="no budget"):
            await banned.get(Request("https://one.example/x"))
        assert await other.get(Request("https://other.example/x")) == b"{}"
        await banned.close()
        await other.close()


def test_two_processes_together_never_spend_more_than_half_of_the_limit(tmp_path: Path) -> None:
    now = [NOW]
    budgets = [Budget(tmp_path, "api.example:443", 100, 60.0, lambda: now[0]) for _ in range(2)]
    granted = sum(budgets[number % 2].take(3) == 0.0 for number in range(100))
    assert granted == 50 // 3
    wait_s = budgets[0].take(3)
    assert 0.0 < wait_s <= 60.0
    now[0] += int(wait_s * 1e6) + 1
    assert budgets[1].take(3) == 0.0


def test_a_torn_budget_file_starts_a_new_window(tmp_path: Path) -> None:
    budget = Budget(tmp_path, "api.example", 100, 60.0, lambda: NOW)
    (tmp_path / "api.example.json").write_bytes(b'{"window":12')
    assert budget.take(50) == 0.0


def test_an_override_replaces_the_host_and_keeps_the_exchanges_path() -> None:
    url = "https://fapi.binance.com/fapi/v1/openInterest?symbol=BTCUSDT"
    assert redirected(url, "http://127.0.0.1:9/sim/") == "http://127.0.0.1:9/sim/fapi/v1/openInterest?symbol=BTCUSDT"
    assert redirected(url, "") == url
