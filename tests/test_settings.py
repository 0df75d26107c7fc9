"""flowtape.toml and FLOWTAPE_* become one checked value, or one clear line."""

from __future__ import annotations

import msgspec
import pytest

from schemas import time
from schemas.settings import ConfigError, load


def test_without_a_file_binance_spot_and_futures_bring_bitcoin_and_ether() -> None:
    settings = load("", {})
    assert {name: its.symbols for name, its in settings.exchanges.items()} == {
        "binance": ["BTC-USDT", "ETH-USDT"],
        "binance_futures": ["BTC-USDT-PERP", "ETH-USDT-PERP"],
    }


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = load("", {})
    assert (settings.data_dir, settings.nats.url, settings.web.port) == (".flowtape", "nats://127.0.0.1:4222", 8080)
    assert settings.signals.intervals == ["10s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"]
    assert settings.signals.flush == 250 * time.MILLISECOND
    assert (settings.retention.trades, settings.retention.books) == (15 * time.DAY, 7 * time.DAY)
    assert (settings.retention.footprints, settings.retention.klines) == (90 * time.DAY, 0)


def test_an_exchange_in_the_file_replaces_the_default_set() -> None:
    settings = load('[exchanges.kraken]\nsymbols = ["BTC-USD"]', {})
    assert list(settings.exchanges) == ["kraken"]


def test_either_form_of_a_channel_word_is_taken() -> None:
    settings = load('[exchanges.binance]\nchannels = ["trade", "books"]\n[streams.trade]\nmax_age = "1d"', {})
    assert settings.exchanges["binance"].channels == ["trades", "books"]
    assert settings.streams.trades.max_age == time.DAY


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("FLOWTAPE_DATA_DIR", "elsewhere", lambda s: s.data_dir == "elsewhere"),
        ("FLOWTAPE_DATA_DIR", "2026", lambda s: s.data_dir == "2026"),
        ("FLOWTAPE_WEB_PORT", "9090", lambda s: s.web.port == 9090),
        ("FLOWTAPE_NATS_EMBEDDED", "false", lambda s: s.nats.embedded is False),
        ("FLOWTAPE_DISK", "2GB", lambda s: s.disk == 2 * 10**9),
        ("FLOWTAPE_SIGNALS_ROW", "5.0", lambda s: s.signals.row == 5.0),
        ("FLOWTAPE_SIGNALS_ROW", "auto", lambda s: s.signals.row == "auto"),
        ("FLOWTAPE_SIGNALS_ROW", '{ "BTC-USDT" = 5.0 }', lambda s: s.signals.row == {"BTC-USDT": 5.0}),
        ("FLOWTAPE_RETENTION_TRADES", "off", lambda s: s.retention.trades == 0),
        ("FLOWTAPE_STREAMS_OPEN_INTEREST_MAX_AGE", "1d", lambda s: s.streams.open_interest.max_age == time.DAY),
        ("FLOWTAPE_SIGNALS_INTERVALS", "1m,5m", lambda s: s.signals.intervals == ["1m", "5m"]),
        ("FLOWTAPE_SIGNALS_INTERVALS", '["1m"]', lambda s: s.signals.intervals == ["1m"]),
        ("FLOWTAPE_EXCHANGES_BINANCE_SYMBOLS", "BTC-USDT", lambda s: s.exchanges["binance"].symbols == ["BTC-USDT"]),
        (
            "FLOWTAPE_EXCHANGES_BINANCE_FUTURES_WS_URL", "ws://127.0.0.1:1",
            lambda s: s.exchanges["binance_futures"].ws_url == "ws://127.0.0.1:1",
        ),
        (
            "FLOWTAPE_EXCHANGES_SIM_BINANCE_FUTURES_REST_URL", "http://127.0.0.1:1",
            lambda s: s.exchanges["sim_binance_futures"].rest_url == "http://127.0.0.1:1",
        ),
    ],
)  # fmt: skip
def test_every_kind_of_key_has_an_environment_override(name, value, read) -> None:
    assert read(load("", {name: value}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "x: unknown key"),
        ("[web]\nhots = 'x'", "web.hots: unknown key"),
        ("[web]\nport = 'x'", "web.port"),
        ("[signals]\nflush = 3", "signals.flush"),
        ("[signals]\nflush = '3q'", "not a duration"),
        ("[signals]\nrow = 'big'", "signals.row"),
        ("[signals]\nintervals = ['1x']", "intervals"),
        ("[exchanges.mtgox]\nsymbols = ['BTC-USD']", "unknown exchange"),
        ("[exchanges.bybit]", "exchanges.bybit.symbols: missing"),
        ("[exchanges.binance]\nchannels = ['candy']", "unknown channel 'candy'"),
        ("[exchanges.binance]\nws_url = 'ws://203.0.113.5'", "only to loopback"),
        ("[exchanges.binance]\nrest_url = 'ftp://x'", "not a https:// address"),
        ("[exchanges.binance]\ntransport = 'pigeon'", "exchanges.binance.transport"),
        ("disk = 'lots'", "disk"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_file(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, {}, source="my.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("my.toml: ")


@pytest.mark.parametrize("name", ["FLOWTAPE_NONSENSE", "FLOWTAPE_EXCHANGES_MTGOX_SYMBOLS", "FLOWTAPE_WEB_PRT"])
def test_an_unknown_variable_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load("", {name: "1"})


def test_logs_are_json_or_for_people_as_the_setting_says(capsys) -> None:
    import structlog

    from flowtape import log

    log.configure("here", load('[log]\nformat = "json"', {}).log.format)
    structlog.get_logger().info("json_asked_for", n=1)
    log.configure("here", load("", {"FLOWTAPE_LOG_FORMAT": "human"}).log.format)
    structlog.get_logger().info("human_asked_for", n=1)
    first, second = capsys.readouterr().err.splitlines()
    assert msgspec.json.decode(first)["event"] == "json_asked_for"
    assert "human_asked_for" in second
    assert not second.startswith("{")
    with pytest.raises(ConfigError):
        load('[log]\nformat = "xml"', {})
