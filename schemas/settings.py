"""``flowtape.toml``: every key with its default, and how file and environment become one checked value.

Pure: the caller reads the file. Durations are microseconds once decoded, sizes bytes, ``off`` is 0.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import field

from schemas import time
from schemas.names import CHANNELS, WORD
from schemas.symbols import EXCHANGES, SIMULATED, is_exchange

PREFIX = "FLOWTAPE_"
_RULE, _SIGNAL = re.compile(r"[a-z0-9_-]{1,48}"), re.compile(r"[a-z0-9_*]{1,48}")
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class ConfigError(ValueError):
    """A setting that cannot be used: names the key and where it was read."""

    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")
        self.source, self.key, self.problem = source, key, problem


class Duration(int):
    """Microseconds, written ``250ms`` ``10s`` ``5m`` ``4h`` ``15d`` ``5w``; ``off`` is 0."""


class Size(int):
    """Bytes, written ``500MB`` ``50GB``."""


class Default(str):
    """A URL nobody chose: the port of an embedded server may move away from it."""

    __slots__ = ()


class DefaultPort(int):
    """A port nobody chose: where it is taken, another one serves."""

    __slots__ = ()


def _duration(text: str) -> Duration:
    return Duration(0 if text == "off" else time.duration(text))


def size(text: str) -> Size:
    """Bytes of ``500MB`` or ``50GB``. Raises ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 500MB or 50GB")
    return Size(float(match[1]) * _SIZES[match[2]])


class _Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class NatsSettings(_Section):
    """``[nats]``. Roles log in by their own name; ``password`` is needed off loopback only."""

    url: str = Default("nats://127.0.0.1:4222")
    embedded: bool = True
    password: str = ""


class QuestdbSettings(_Section):
    """``[questdb]``. ``http`` takes user and password in its URL when it has them."""

    http: str = Default("http://127.0.0.1:9000")
    pg: str = Default("postgresql://127.0.0.1:8812/qdb")
    embedded: bool = True
    reader: str = "user:quest"
    """Login that may only read, which the API uses; as QuestDB ships it."""


class RedisSettings(_Section):
    """``[redis]``."""

    url: str = Default("redis://127.0.0.1:6379/0")
    embedded: bool = True


class WebSettings(_Section):
    """``[web]``."""

    host: str = "127.0.0.1"
    port: int = DefaultPort(8080)
    token: str = ""
    """Bearer token every request must show; needed off loopback."""
    allow_origins: list[str] = []
    """Origins beside our own whose pages may ask, such as ``https://charts.example``."""
    allow_hosts: list[str] = []
    """Host names beside ``localhost`` and plain addresses under which we may be called."""


class ExchangeSettings(_Section):
    """``[exchanges.<id>]``."""

    symbols: list[str] = []
    max_symbols: int = 200
    channels: list[str] = []
    """Empty: all the venue has."""
    ws_url: str = ""
    rest_url: str = ""
    book_depth: int = 20
    book_every: Duration = field(default_factory=lambda: _duration("1s"))
    transport: Literal["websockets", "picows"] = "websockets"


class KlinesSettings(_Section):
    """``[klines]``."""

    intervals: list[str] = field(default_factory=lambda: ["1m", "5m", "15m", "1h", "4h", "1d"])
    backfill: Duration = field(default_factory=lambda: _duration("30d"))
    poll: Duration = field(default_factory=lambda: _duration("10s"))


class TradesSettings(_Section):
    """``[trades]``."""

    backfill: Duration = field(default_factory=lambda: _duration("4h"))


class PollSettings(_Section):
    """``[poll]``."""

    open_interest: Duration = field(default_factory=lambda: _duration("60s"))
    funding: Duration = field(default_factory=lambda: _duration("60s"))


class RetentionSettings(_Section):
    """``[retention]``: table TTLs, whole partitions, or ``off``."""

    trades: Duration = field(default_factory=lambda: _duration("15d"))
    liquidations: Duration = field(default_factory=lambda: _duration("off"))
    books: Duration = field(default_factory=lambda: _duration("7d"))
    klines: Duration = field(default_factory=lambda: _duration("off"))
    open_interest: Duration = field(default_factory=lambda: _duration("off"))
    funding: Duration = field(default_factory=lambda: _duration("off"))
    gaps: Duration = field(default_factory=lambda: _duration("off"))
    instruments: Duration = field(default_factory=lambda: _duration("off"))
    completeness: Duration = field(default_factory=lambda: _duration("off"))
    candles: Duration = field(default_factory=lambda: _duration("off"))
    footprints: Duration = field(default_factory=lambda: _duration("90d"))


class StreamSettings(_Section):
    """``[streams.<word>]``: limits of one stream; what is left out derives from ``disk``."""

    max_age: Duration | None = None
    max_bytes: Size | None = None


class StreamsSettings(_Section):
    """``[streams]``."""

    trades: StreamSettings = field(default_factory=StreamSettings)
    liquidations: StreamSettings = field(default_factory=StreamSettings)
    books: StreamSettings = field(default_factory=StreamSettings)
    klines: StreamSettings = field(default_factory=StreamSettings)
    open_interest: StreamSettings = field(default_factory=StreamSettings)
    funding: StreamSettings = field(default_factory=StreamSettings)
    gaps: StreamSettings = field(default_factory=StreamSettings)
    signals: StreamSettings = field(default_factory=StreamSettings)
    dead: StreamSettings = field(default_factory=StreamSettings)


class ProducerSettings(_Section):
    """``[producer]``: bounds of the outbox."""

    memory: Size = field(default_factory=lambda: size("64MB"))
    spool: Size = field(default_factory=lambda: size("1GB"))


class ConsumerSettings(_Section):
    """``[consumer]``: how much one flush may hold, how long it may wait; how often completeness is audited."""

    rows: int = 20_000
    wait: Duration = field(default_factory=lambda: _duration("250ms"))
    audit: Duration = field(default_factory=lambda: _duration("5m"))
    rewind: Duration = field(default_factory=lambda: _duration("5m"))


class CascadeSettings(_Section):
    """``[signals.cascade]``: what makes liquidations of one side a cascade."""

    window: Duration = field(default_factory=lambda: _duration("10s"))
    count: int = 5
    value: float = 250_000.0


class ImbalanceSettings(_Section):
    """``[signals.imbalance]``: what counts as an imbalance, a stack, and when price closes the zone it leaves."""

    ratio: int = 300
    """Percent of the partner."""
    inclusive: bool = False
    zero: Literal["ignore", "minimum"] = "ignore"
    """A partner of 0: no imbalance, or one where the row exceeds the minimum."""
    minimum: float = 0.0
    """Base units the row itself must exceed."""
    minimum_percentile: int = 0
    """Likewise, as a percentile of the candle's own traded volumes by row and side."""
    gaps: Literal["grid", "traded"] = "grid"
    mode: Literal["diagonal", "horizontal"] = "diagonal"
    stack: int = 3
    closes: Literal["through", "touch"] = "through"
    candles: int = 0
    """A zone closes by itself after so many candles of its interval; 0 never."""


class UnfinishedSettings(_Section):
    """``[signals.unfinished]``: base units that must be exceeded at the extreme."""

    buy: float = 0.0
    sell: float = 0.0


class ProfileSettings(_Section):
    """``[signals.profile]``."""

    rolling: list[str] = field(default_factory=lambda: ["4h", "24h"])
    value_area: int = 70
    """Percent of the volume."""
    rows: Literal[1, 2] = 2
    """Rows the value area grows by."""
    nodes: int = 3
    """Rows on each side that a node must exceed, or stay below."""
    smooth: bool = False
    prominence: int = 0
    """Percent of the largest row that a node must stand out by."""
    naked: int = 30
    """Naked points of control kept per symbol."""


class DivergenceSettings(_Section):
    """``[signals.divergence]``."""

    pivots: int = 3
    """Candles on each side of a swing's pivot."""


class AbsorptionSettings(_Section):
    """``[signals.absorption]``."""

    rows: int = 3
    within: Duration = field(default_factory=lambda: _duration("5s"))
    size: float = 0.0
    """Base units, at least."""
    deviations: float = 4.0
    """Standard deviations above the mean of earlier bands, at least."""
    beyond: int = 1
    """Rows price may go beyond the band."""
    extreme: int = 25
    """For a candle: percent of its range that holds the largest row."""
    close: int = 50
    """For a candle: percent of its range between that row and the close, at least."""


class ExhaustionSettings(_Section):
    """``[signals.exhaustion]``."""

    rows: int = 3
    percent: int = 10
    """Of the candle's largest row of that side."""


class SweepSettings(_Section):
    """``[signals.sweep]``."""

    levels: int = 5
    within: Duration = field(default_factory=lambda: _duration("200ms"))
    notional: float = 0.0
    quantile: float = 0.95
    """Of the sizes of taker orders; 0 is off."""


class LargeTradeSettings(_Section):
    """``[signals.large_trade]``."""

    quantile: float = 0.999
    """Of the sizes of taker orders; 0 is off."""
    notional: float = 0.0
    """Quote units, at least."""
    join: Duration = field(default_factory=lambda: _duration("off"))
    """Prints of one side this long after the first still belong to its order."""


class LevelsSettings(_Section):
    """``[signals.levels]``: the model of liquidation levels. ``weights`` is each tier's share of what is opened."""

    enabled: bool = False
    tiers: list[float] = field(default_factory=lambda: [5.0, 10.0, 25.0, 50.0, 100.0])
    weights: list[float] = field(default_factory=lambda: [0.2, 0.3, 0.25, 0.15, 0.1])
    maintenance: float = 0.004
    window: Duration = field(default_factory=lambda: _duration("24h"))


class SignalsSettings(_Section):
    """``[signals]``."""

    intervals: list[str] = field(default_factory=lambda: ["10s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"])
    flush: Duration = field(default_factory=lambda: _duration("250ms"))
    row: str | float | dict[str, float] = "auto"
    late_horizon: Duration = field(default_factory=lambda: _duration("10m"))
    stable: list[str] = field(default_factory=lambda: ["USD", "USDT", "USDC", "FDUSD"])
    closed: int = 200
    snapshot: Duration = field(default_factory=lambda: _duration("60s"))
    cascade: CascadeSettings = field(default_factory=CascadeSettings)
    levels: LevelsSettings = field(default_factory=LevelsSettings)
    open_interest: Duration = field(default_factory=lambda: _duration("5m"))
    indicators: list[str] = []
    """TA-Lib functions: ``RSI(14)``. Off until some are named: a bar of each series costs memory."""
    indicator_bars: int = 500
    folder: str = ""
    anchors: list[str] = []
    """Times from which anchored profiles and VWAPs run."""
    detect: list[str] = field(default_factory=lambda: ["1m", "5m", "15m", "30m", "1h", "4h", "1d"])
    """Intervals whose candles are looked at for detections."""
    detections: int = 25
    """The last ones kept in Redis, per symbol and signal."""
    imbalance: ImbalanceSettings = field(default_factory=ImbalanceSettings)
    unfinished: UnfinishedSettings = field(default_factory=UnfinishedSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    divergence: DivergenceSettings = field(default_factory=DivergenceSettings)
    absorption: AbsorptionSettings = field(default_factory=AbsorptionSettings)
    exhaustion: ExhaustionSettings = field(default_factory=ExhaustionSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    large_trade: LargeTradeSettings = field(default_factory=LargeTradeSettings)


class AlertSettings(_Section):
    """``[[alerts]]``: a rule. Patterns may hold ``*``; what is left out matches everything."""

    name: str
    signal: str
    """The word of ``sig.<signal>.…``, or ``price``."""
    exchange: str = "*"
    symbol: str = "*"
    interval: str = "*"
    side: Literal["", "buy", "sell"] = ""
    event: Literal["", "seen", "opened", "closed"] = ""
    min_size: float = 0.0
    min_value: float = 0.0
    above: float | None = None
    below: float | None = None
    """Of ``price`` alone: told when a trade crosses it."""
    every: Duration = field(default_factory=lambda: _duration("off"))
    """At most one of a symbol in so long."""
    targets: list[str] = []


class TargetSettings(_Section):
    """``[targets.<name>]``: where alerts are posted. ``secret`` may be ``$NAME`` of an environment variable."""

    kind: Literal["json", "discord", "telegram"]
    url: str = ""
    secret: str = ""
    """``json``: the key it is signed with; ``telegram``: the bot's token."""
    chat: str = ""


class LogSettings(_Section):
    """``[log]``."""

    format: Literal["auto", "json", "human"] = "auto"
    """``auto``: for people on a terminal, JSON elsewhere."""


class Settings(_Section):
    """The whole configuration, checked."""

    data_dir: str = ".flowtape"
    disk: Size | None = None
    nats: NatsSettings = field(default_factory=NatsSettings)
    questdb: QuestdbSettings = field(default_factory=QuestdbSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    web: WebSettings = field(default_factory=WebSettings)
    exchanges: dict[str, ExchangeSettings] = {}
    klines: KlinesSettings = field(default_factory=KlinesSettings)
    trades: TradesSettings = field(default_factory=TradesSettings)
    poll: PollSettings = field(default_factory=PollSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    streams: StreamsSettings = field(default_factory=StreamsSettings)
    producer: ProducerSettings = field(default_factory=ProducerSettings)
    consumer: ConsumerSettings = field(default_factory=ConsumerSettings)
    signals: SignalsSettings = field(default_factory=SignalsSettings)
    alerts: list[AlertSettings] = []
    targets: dict[str, TargetSettings] = {}
    log: LogSettings = field(default_factory=LogSettings)


def default_symbols(exchange: str) -> list[str]:
    """BTC and ETH against USDT, where the Binance ids say what that means; nothing for other venues."""
    base = exchange.removeprefix(SIMULATED)
    if base not in ("binance", "binance_futures"):
        return []
    tail = "-PERP" if base == "binance_futures" else ""
    return [f"BTC-USDT{tail}", f"ETH-USDT{tail}"]


def load(text: str, environment: Mapping[str, str], source: str = "flowtape.toml") -> Settings:
    """Settings from a TOML text and ``FLOWTAPE_*`` variables. Raises ConfigError naming source and key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, "", f"not valid TOML: {error}") from error
    raw = _one_spelling(raw)
    settings = _convert(raw, source)
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX):
            _override(raw, name, value)
            settings = _convert(raw, f"environment variable {name}")
    if not settings.exchanges:
        settings.exchanges = {"binance": ExchangeSettings(), "binance_futures": ExchangeSettings()}
    _check(settings, source)
    _check_alerts(settings, environment, source)
    return settings


def _one_spelling(raw: dict[str, Any]) -> dict[str, Any]:
    for section in ("streams", "retention"):
        if isinstance(raw.get(section), dict):
            raw[section] = {WORD[k].channel if k in WORD else k: v for k, v in raw[section].items()}
    return raw


def _convert(raw: dict[str, Any], source: str) -> Settings:
    try:
        return msgspec.convert(raw, Settings, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        unknown = re.search(r"unknown field `(.+?)`", message)
        key = path.rstrip("`").removeprefix("key in ").removeprefix("$").removeprefix(".")
        if unknown:
            key, message = ".".join(filter(None, (key, unknown[1]))), "unknown key"
        if key.startswith("exchanges[...]"):
            key = key.replace("exchanges[...]", f"exchanges.{_culprit(raw)}", 1)
        raise ConfigError(source, key or "configuration", message) from error


def _culprit(raw: dict[str, Any]) -> str:
    """Which exchange's section does not convert: msgspec names no dictionary keys."""
    for name, section in raw["exchanges"].items():
        try:
            msgspec.convert(section, ExchangeSettings, dec_hook=_decode)
        except msgspec.ValidationError:
            return str(name)
    return "…"


def _decode(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text such as {'10s' if kind is Duration else '50GB'}")
    return _duration(value) if kind is Duration else size(value)


def _override(raw: dict[str, Any], name: str, value: str) -> None:
    """Put one environment variable into ``raw``. Raises ConfigError for a variable that names no key."""
    rest = name.removeprefix(PREFIX).lower()
    path = _path(Settings, rest)
    if path is None:
        raise ConfigError(f"environment variable {name}", rest, "unknown key")
    *sections, (last, kind) = path
    place = raw
    for section, _ in sections:
        place = place.setdefault(section, {})
    place[last] = _value(value, kind)


def _path(section: type[msgspec.Struct], rest: str) -> list[tuple[str, Any]] | None:
    hints = get_type_hints(section)
    if rest in hints:
        return [(rest, hints[rest])]
    if section is Settings and rest.startswith("exchanges_"):
        tail = rest.removeprefix("exchanges_")
        known = sorted((s + e for e in EXCHANGES for s in ("", SIMULATED)), key=len, reverse=True)
        for exchange in known:
            if tail.startswith(exchange + "_") and (found := _path(ExchangeSettings, tail[len(exchange) + 1 :])):
                return [("exchanges", None), (exchange, None), *found]
        return None
    for name, kind in hints.items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and rest.startswith(name + "_"):
            found = _path(kind, rest[len(name) + 1 :])
            return found and [(name, kind), *found]
    return None


def _value(text: str, kind: Any) -> Any:
    """A TOML value; a plain string where it is none; a list where the key holds one."""
    try:
        value: Any = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    if typing.get_origin(kind) is list and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if not isinstance(value, str) and not set(options) & {int, float, bool, list, dict} and not typing.get_origin(kind):
        return text
    return value


def _check(settings: Settings, source: str) -> None:
    _check_web(settings.web, source)
    if not all(settings.questdb.reader.partition(":")):
        raise ConfigError(source, "questdb.reader", "write it as user:password")
    for interval in {*settings.klines.intervals, *settings.signals.intervals, *settings.signals.detect}:
        try:
            time.duration(interval)
        except ValueError as error:
            raise ConfigError(source, "intervals", str(error)) from error
    if isinstance(settings.signals.row, str) and settings.signals.row != "auto":
        raise ConfigError(source, "signals.row", f"{settings.signals.row!r} is neither 'auto', a number nor a table")
    _check_signals(settings.signals, source)
    for exchange, its in settings.exchanges.items():
        key = f"exchanges.{exchange}"
        if not is_exchange(exchange) or exchange.removeprefix(SIMULATED) not in EXCHANGES:
            raise ConfigError(source, key, f"unknown exchange; known are {', '.join(EXCHANGES)}")
        its.symbols = its.symbols or default_symbols(exchange)
        if not its.symbols:
            raise ConfigError(source, f"{key}.symbols", 'missing: name symbols, or ["*"] for all')
        its.channels = [_channel(word, f"{key}.channels", source) for word in its.channels]
        for name, plain in (("ws_url", "ws"), ("rest_url", "http")):
            _check_url(getattr(its, name), plain, f"{key}.{name}", source)


def _check_signals(its: SignalsSettings, source: str) -> None:
    bounds = {
        "imbalance.ratio": (its.imbalance.ratio, 1, 100_000),
        "imbalance.minimum": (its.imbalance.minimum, 0, 1e15),
        "imbalance.minimum_percentile": (its.imbalance.minimum_percentile, 0, 99),
        "imbalance.stack": (its.imbalance.stack, 2, 400),
        "imbalance.candles": (its.imbalance.candles, 0, 10_000),
        "unfinished.buy": (its.unfinished.buy, 0, 1e15),
        "unfinished.sell": (its.unfinished.sell, 0, 1e15),
        "profile.value_area": (its.profile.value_area, 1, 100),
        "profile.nodes": (its.profile.nodes, 1, 100),
        "profile.prominence": (its.profile.prominence, 0, 100),
        "profile.naked": (its.profile.naked, 1, 365),
        "divergence.pivots": (its.divergence.pivots, 1, 20),
        "absorption.rows": (its.absorption.rows, 1, 100),
        "absorption.within": (its.absorption.within, time.MILLISECOND, time.MINUTE),
        "absorption.size": (its.absorption.size, 0, 1e15),
        "absorption.deviations": (its.absorption.deviations, 0, 100),
        "absorption.beyond": (its.absorption.beyond, 0, 100),
        "absorption.extreme": (its.absorption.extreme, 1, 100),
        "absorption.close": (its.absorption.close, 0, 100),
        "exhaustion.rows": (its.exhaustion.rows, 2, 100),
        "exhaustion.percent": (its.exhaustion.percent, 0, 100),
        "sweep.levels": (its.sweep.levels, 2, 10_000),
        "sweep.within": (its.sweep.within, time.MILLISECOND, time.MINUTE),
        "sweep.notional": (its.sweep.notional, 0, 1e15),
        "sweep.quantile": (its.sweep.quantile, 0, 0.999999),
        "large_trade.quantile": (its.large_trade.quantile, 0, 0.999999),
        "large_trade.notional": (its.large_trade.notional, 0, 1e15),
        "large_trade.join": (its.large_trade.join, 0, time.MINUTE),
        "detections": (its.detections, 1, 1000),
    }
    for key, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise ConfigError(source, f"signals.{key}", f"{value:g} is not within {least:g} and {most:g}")
    for text in its.profile.rolling:
        if not _is_minutes(text, 7 * time.DAY):
            raise ConfigError(source, "signals.profile.rolling", f"{text!r} is not whole minutes up to 7d")
    for text in its.anchors:
        if not _is_anchor(text):
            raise ConfigError(source, "signals.anchors", f"{text!r} is not a time in whole minutes")


def _is_minutes(text: str, most: int) -> bool:
    try:
        length = time.duration(text)
    except ValueError:
        return False
    return 0 < length <= most and length % time.MINUTE == 0


def _is_anchor(text: str) -> bool:
    try:
        return time.parse(text) % time.MINUTE == 0
    except ValueError:
        return False


def _channel(word: str, key: str, source: str) -> str:
    if word not in WORD or WORD[word].channel not in CHANNELS:
        raise ConfigError(source, key, f"unknown channel {word!r}; known are {', '.join(CHANNELS)}")
    return WORD[word].channel


def _check_alerts(settings: Settings, environment: Mapping[str, str], source: str) -> None:
    for name, target in settings.targets.items():
        key = f"targets.{name}"
        _check_url(target.url, "http", f"{key}.url", source)
        _check_public(target.url, f"{key}.url", source)
        if target.secret.startswith("$"):
            if target.secret[1:] not in environment:
                raise ConfigError(source, f"{key}.secret", f"there is no environment variable {target.secret[1:]}")
            target.secret = environment[target.secret[1:]]
        needed = {"json": ("url", "secret"), "discord": ("url",), "telegram": ("secret", "chat")}[target.kind]
        for part in needed:
            if not getattr(target, part):
                raise ConfigError(source, f"{key}.{part}", f"missing: {target.kind} needs it")
    for n, rule in enumerate(settings.alerts):
        key = f"alerts[{n}]"
        if not _RULE.fullmatch(rule.name) or rule.name in {other.name for other in settings.alerts[:n]}:
            raise ConfigError(
                source, f"{key}.name", f"{rule.name!r} is taken, or not of lower-case letters, digits, _ and -"
            )
        if not _SIGNAL.fullmatch(rule.signal) or rule.signal == "alert":
            raise ConfigError(source, f"{key}.signal", f"{rule.signal!r} is no word of sig.<signal>.…")
        if (rule.signal == "price") != (rule.above is not None or rule.below is not None):
            raise ConfigError(source, f"{key}.above", 'above or below are needed by signal = "price", and by it alone')
        for name in rule.targets:
            if name not in settings.targets:
                raise ConfigError(source, f"{key}.targets", f"there is no [targets.{name}]")


def _check_public(url: str, key: str, source: str) -> None:
    """Raises ConfigError for an address in a private network that is not this machine."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if not (address.is_global or address.is_loopback):
        raise ConfigError(source, key, f"{host} is a private address; alerts go to public ones or to this machine")


def _check_url(url: str, plain: str, key: str, source: str) -> None:
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme not in (plain, plain + "s") or not parts.hostname:
        raise ConfigError(source, key, f"{url!r} is not a {plain}s:// address")
    if parts.scheme == plain and not is_loopback(parts.hostname):
        raise ConfigError(source, key, f"plain {plain}:// only to loopback; use {plain}s://")


def _check_web(web: WebSettings, source: str) -> None:
    if not 0 <= web.port <= 65_535:
        raise ConfigError(source, "web.port", f"{web.port} is no port")
    if web.token and re.fullmatch(r"[A-Za-z0-9_-]{16,200}", web.token) is None:
        raise ConfigError(source, "web.token", "write 16 or more of A-Z a-z 0-9 _ -")
    if not web.token and not is_loopback(web.host):
        raise ConfigError(source, "web.token", f"missing: {web.host!r} is not this machine alone")
    for origin in web.allow_origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
            raise ConfigError(
                source, "web.allow_origins", f"{origin!r} is not an origin such as https://charts.example"
            )


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
