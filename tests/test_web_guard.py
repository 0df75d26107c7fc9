"""Who may ask: hosts, origins, tokens and limits, on requests and on WebSocket handshakes, with hostile input."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace

import aiohttp
import pytest
from yarl import URL

from schemas.settings import ConfigError, DefaultPort, WebSettings, load
from tests.conftest import Stack
from tests.harness import eventually
from tests.webbing import serving
from web._door import CONNECTIONS_OF_CLIENT_MAX
from web._errors import ApiError
from web._guard import BODY_BYTES_MAX, CLIENTS_MAX, REQUESTS_BURST, Guard
from web._port import listening, record, recorded
from web._socket import KEYS_MAX, MESSAGE_BYTES_MAX, SOCKETS_OF_CLIENT_MAX, SUBJECTS_MAX

TOKEN = "a-token-of-some-length"
KEY = "cvd:sim_bybit:BTC-USDT"


@pytest.fixture
async def site(migrated: Stack, tmp_path):
    text = '[web]\nport = 0\nallow_origins = ["https://charts.example"]\nallow_hosts = ["tape.lan"]'
    async with serving(migrated, tmp_path, text) as it:
        yield it


@pytest.fixture
async def locked(migrated: Stack, tmp_path):
    async with serving(migrated, tmp_path, f'[web]\nport = 0\ntoken = "{TOKEN}"') as it:
        yield it


async def status(site, path: str, method: str = "GET", **headers: str) -> int:
    async with site.client.request(method, URL(site.url + path, encoded=True), headers=headers) as answer:
        await answer.read()
        return answer.status


async def handshake(site, path: str = "/ws", **headers: str) -> int:
    """The status of a WebSocket handshake; 101 where it was let in."""
    try:
        async with site.client.ws_connect(site.url + path, headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True), ("localhost:8080", True), ("[::1]:8080", True), ("192.168.1.7", True), ("tape.lan", True),
        ("tape.lan.", True), ("evil.example", False), ("127.0.0.1.nip.io", False), ("localhost.evil.example", False),
        ("evil.example:8080", False), ("", False), ("[", False), ("a b", False),
    ],
)  # fmt: skip
async def test_a_name_that_was_rebound_to_us_is_refused(site, host: str, allowed: bool) -> None:
    assert await status(site, "/livez", Host=host) == (200 if allowed else 403)
    assert await handshake(site, Host=host) == (101 if allowed else 403)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://charts.example", True), ("http://tape.lan", True), ("https://evil.example", False), ("null", False),
        ("https://charts.example.evil.example", False), ("http://charts.example", False), ("file://", False),
        ("http://tape.lan:81", False), ("http://[", False), ("", False),
    ],
)  # fmt: skip
async def test_a_page_of_another_origin_is_refused(site, origin: str, allowed: bool) -> None:
    for path, method in (("/api/instruments", "GET"), ("/api/dead/requeue?sequence=1", "POST")):
        got = await status(site, path, method, Origin=origin, Host="tape.lan")
        assert (got != 403) is allowed
    assert await handshake(site, Origin=origin, Host="tape.lan") == (101 if allowed else 403)


async def test_only_an_allowed_origin_is_told_that_it_may_read(site) -> None:
    async with site.client.get(site.url + "/api/instruments", headers={"Origin": "https://charts.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://charts.example"
    async with site.client.get(site.url + "/api/instruments", headers={"Origin": "https://evil.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    preflight = {"Origin": "https://charts.example", "Access-Control-Request-Method": "GET"}
    async with site.client.options(site.url + "/aggr/products", headers=preflight) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET"
    assert await status(site, "/aggr/products", "OPTIONS", Origin="https://evil.example") == 403


async def test_every_answer_forbids_foreign_scripts_and_says_what_it_is(site) -> None:
    for path in ("/", "/api/instruments", "/nothing", "/reference.html", "/js/main.js", "/style.css"):
        async with site.client.get(site.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "*" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "evil", ["<img src=x onerror=alert(1)>", "%3Cimg%20src=x%20onerror=alert(1)%3E", "' OR 1=1 --"]
)
async def test_markup_in_a_request_comes_back_as_data_only(site, evil: str) -> None:
    ask = {"exchange": "binance", "symbol": evil}
    async with site.client.get(site.url + "/api/candles", params=ask) as answer:
        assert answer.status == 404
        assert answer.content_type == "application/json"
    async with site.client.get(site.url + "/" + evil) as answer:
        assert answer.status == 404
        assert answer.content_type == "application/json"
        assert evil not in await answer.text()


@pytest.mark.parametrize(
    "path",
    ["/../web.json", "/%2e%2e/%2e%2e/pyproject.toml", "/js/..%2f..%2f_guard.py", "/_guard.py", "/static/js/main.js",
     "//etc/passwd", "/js/main.js%00.css", "/package.json"],
)  # fmt: skip
async def test_no_path_reaches_a_file_that_is_not_in_the_map(site, path: str) -> None:
    assert await status(site, path) == 404


async def test_huge_and_broken_requests_are_turned_away_and_the_rest_goes_on(site) -> None:
    async with site.client.post(site.url + "/api/dead/requeue?sequence=1", data=b"x" * (BODY_BYTES_MAX + 1)) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "too_large"
    port = URL(site.url).port
    for raw in (
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01" + b"\0" * 200,
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        assert b"400" in (await asyncio.wait_for(reader.read(200), 5)).split(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()
    assert await status(site, "/livez") == 200


async def test_with_a_token_everything_but_the_probes_needs_it(locked) -> None:
    for path in ("/", "/api/instruments", "/reference.html", "/udf/config", "/ws", "/nothing"):
        assert await status(locked, path) == 401
        assert await status(locked, path, Authorization="Bearer wrong") == 401
        assert await status(locked, f"/k/wrong{path}") == 401
    assert await status(locked, "/livez") == 200
    assert await status(locked, "/api/instruments", Authorization=f"Bearer {TOKEN}") == 200
    for path in ("/", "/api/instruments", "/udf/config", "/js/main.js"):
        assert await status(locked, f"/k/{TOKEN}{path}") == 200
    assert await handshake(locked) == 401
    assert await handshake(locked, f"/k/{TOKEN}/ws") == 101
    assert await handshake(locked, f"/k/{TOKEN}/ws", Origin="https://evil.example") == 403


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[web]\nhost = "0.0.0.0"', "web.token"), ('[web]\nhost = "192.168.1.7"', "web.token"),
        ('[web]\ntoken = "short"', "web.token"), ('[web]\ntoken = "with a space and more"', "web.token"),
        ("[web]\nport = 70000", "web.port"), ('[web]\nallow_origins = ["*"]', "web.allow_origins"),
        ('[web]\nallow_origins = ["https://charts.example/"]', "web.allow_origins"),
        ('[questdb]\nreader = "user"', "questdb.reader"),
    ],
)  # fmt: skip
def test_settings_that_would_open_the_door_are_refused_at_start(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(text, {})
    assert refused.value.key == key


def test_a_client_that_asks_too_often_waits_and_others_do_not() -> None:
    now = [0.0]
    guard = Guard(WebSettings(), lambda: now[0])

    def ask(client: str) -> None:
        headers = {"Host": "localhost"}
        guard.check(SimpleNamespace(remote=client, headers=headers, path="/", match_info={}, content_length=None))  # type: ignore[arg-type]

    for _ in range(int(REQUESTS_BURST)):
        ask("one")
    with pytest.raises(ApiError) as refused:
        ask("one")
    assert refused.value.status == 429
    ask("two")
    now[0] = 1.0
    ask("one")
    for n in range(2 * CLIENTS_MAX):
        ask(f"client-{n}")
    assert len(guard._allowance) <= CLIENTS_MAX


async def test_sockets_keys_and_messages_are_bounded(site) -> None:
    async with site.client.ws_connect(site.url + "/ws") as ws:
        await ws.send_json({"op": "subscribe", "keys": [f"cvd:x:K-{n}" for n in range(KEYS_MAX)]})
        await ws.send_json({"op": "subscribe", "keys": ["cvd:x:ONE-MORE"]})
        await told(ws, lambda message: message.get("error", {}).get("code") == "too_many_keys")
    async with site.client.ws_connect(site.url + "/ws") as ws:
        await ws.send_json({"op": "subscribe", "keys": [f"md.trade.x.K-{n}" for n in range(SUBJECTS_MAX + 1)]})
        await told(ws, lambda message: message.get("error", {}).get("code") == "too_many_keys")
    async with site.client.ws_connect(site.url + "/ws") as ws:
        await ws.send_str('{"op":"ping","keys":["' + "x" * MESSAGE_BYTES_MAX + '"]}')
        while (message := await ws.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 1009


async def test_sockets_of_a_client_are_counted_and_one_that_is_closed_makes_room(site) -> None:
    many, reading = [], []
    try:
        for _ in range(SOCKETS_OF_CLIENT_MAX):
            many.append(await site.client.ws_connect(site.url + "/ws"))
            reading.append(asyncio.create_task(read(many[-1])))  # whoever does not answer a ping is let go
        assert await handshake(site) == 429
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for ws in many:
            await ws.close()

    async def let_in():
        return await handshake(site) == 101

    await eventually(let_in, "a closed socket makes room")


async def read(ws) -> None:
    async for _ in ws:
        pass


async def test_connections_are_bounded_before_a_request_is_read_and_one_that_ends_makes_room(site) -> None:
    port = URL(site.url).port
    held = []
    try:
        while len(held) < CONNECTIONS_OF_CLIENT_MAX:
            held += [await asyncio.open_connection("127.0.0.1", port)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)  # it says nothing, and is answered
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b'"code":"too_many_connections"' in answer
        writer.close()
        held.pop()[1].close()

        async def let_in():
            with contextlib.suppress(aiohttp.ClientError):
                return await status(site, "/livez") == 200

        await eventually(let_in, "a connection that ended makes room")
    finally:
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"op":"subscribe"', '{"op":1}', '{"op":"subscribe","keys":"x"}', '{"op":"subscribe","extra":1}',
     '{"op":"drop"}', '{"op":"subscribe","keys":["<img src=x onerror=alert(1)>"]}',
     '{"op":"subscribe","keys":["watermark:redis-footprint"]}', '{"op":"subscribe","keys":["$JS.API.>"]}',
     '{"op":"subscribe","keys":["md.>"]}', '{"op":"subscribe","keys":["health"]}', "\u0000"],
)  # fmt: skip
async def test_a_hostile_message_is_answered_and_the_socket_stays(site, text: str) -> None:
    async with site.client.ws_connect(site.url + "/ws") as ws:
        await ws.send_str(text)
        assert "code" in (await told(ws, lambda message: "error" in message))["error"]
        await ws.send_json({"op": "ping"})
        await told(ws, lambda message: message.get("op") == "pong")


async def told(ws, wanted):
    """The first message that is wanted."""
    async with asyncio.timeout(20):
        while not wanted(message := await ws.receive_json()):
            pass
        return message


def test_a_default_port_moves_and_stays_where_it_went_a_chosen_one_does_not(tmp_path) -> None:
    settings = load("", {"FLOWTAPE_DATA_DIR": f'"{tmp_path}"'})
    assert isinstance(settings.web.port, DefaultPort)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        settings.web.port = DefaultPort(taken)
        with listening(settings) as moved:
            port = moved.getsockname()[1]
        assert port != taken
        served = record(settings, port)
        assert recorded(tmp_path) == served
        with listening(settings) as again:
            assert again.getsockname()[1] == port
        settings.web.port = taken
        with pytest.raises(ConfigError, match=rf"web\.port: port {taken} is in use"):
            listening(settings)
    settings.web.host = "203.0.113.7"
    with pytest.raises(ConfigError, match=r"web\.host: cannot listen"):
        listening(settings)
