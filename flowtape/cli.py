"""The command line. Each command loads the settings, connects as its role and hands over to the part that does it."""

from __future__ import annotations

import asyncio
import sys
import time as clocks
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click

from flowtape import __version__, log, servers
from flowtape.configuration import read
from flowtape.jar import JarError
from flowtape.waiting import lose_no_cancellation
from schemas import time
from schemas.names import WORD, is_prefix
from schemas.settings import ConfigError, Settings, size
from schemas.symbols import EXCHANGES, SIMULATED

_CONFIG = click.option(
    "--config", "config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file; else ./flowtape.toml."
)


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return time.duration(str(value)) / time.SECOND
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Time(click.ParamType[int]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return time.parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither an ISO 8601 time nor an integer of µs", param, ctx)


class _Bytes(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(size(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Speed(click.ParamType[float]):
    name = "N|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            speed = 0.0 if value == "max" else float(value)
        except ValueError:
            speed = -1.0
        if not 0.0 <= speed < float("inf") or (speed == 0.0 and value != "max"):
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)
        return speed


class _Group(click.Group):
    """Errors a user can act on become one clear line and an exit code instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConfigError, servers.ServerError, JarError) as error:
            click.echo(f"flowtape: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@_CONFIG
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Crypto market data and order flow, self-hosted.

    \b
    flowtape up --demo        everything, on a simulated exchange
    flowtape up               everything, on the exchanges of flowtape.toml
    flowtape status           what runs, how much came in, what lags
    flowtape sub 'md.trade.*.BTC-USDT'
    """
    ctx.obj = config


def command(group: click.Group, *arguments: Any, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that takes ``--config`` too and gets the settings as its first argument."""

    def wrap(function: Callable[..., Any]) -> click.Command:
        @click.pass_context
        def body(ctx: click.Context, /, config: Path | None, **rest: Any) -> None:
            log.configure("flowtape")
            code = function(read(config or ctx.find_object(Path)), **rest)
            ctx.exit(code or 0)

        body.__doc__, body.__name__ = function.__doc__, function.__name__
        body.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        made: click.Command = group.command(*arguments, **options)(_CONFIG(body))
        return made

    return wrap


def _exchange(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value.removeprefix(SIMULATED) not in EXCHANGES:
        raise click.BadParameter(f"unknown exchange {value!r}; known are {', '.join(EXCHANGES)}")
    return value


def _prefix(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value and not is_prefix(value):
        raise click.BadParameter(f"{value!r} is not one word of letters, digits and - (and not md, sig or all)")
    return value


_EXCHANGE = click.argument("exchange", callback=_exchange)


def _configured(settings: Settings, exchange: str) -> None:
    """Raises ConfigError for an exchange of which nothing is wanted: its producer would wait for ever."""
    if exchange not in settings.exchanges:
        raise ConfigError("configuration", f"exchanges.{exchange}.symbols", 'missing: name symbols, or ["*"] for all')


@command(cli)
@click.option("--demo", is_flag=True, help="Use the built-in exchange simulator.")
@click.option("--for", "seconds", type=_Duration(), help="Stop by itself after this long, e.g. 60s.")
def up(settings: Settings, demo: bool, seconds: float | None) -> int:
    """Start everything and keep it running. Ctrl-C stops it cleanly.

    \b
    flowtape up --demo --for 60s
    """
    from flowtape.supervisor import supervise

    return supervise(settings, demo=demo, seconds=seconds, config=_config_path())


def _config_path() -> Path | None:
    ctx = click.get_current_context()
    return ctx.params.get("config") or ctx.find_object(Path)


@cli.group("servers")
def servers_group() -> None:
    """The embedded NATS, QuestDB and Redis: flowtape servers start|stop|status.

    \b
    flowtape servers start
    flowtape servers status
    flowtape servers stop
    """


@command(servers_group, "start")
def servers_start(settings: Settings) -> None:
    """Start what is not running, and wait until it is ready.

    \b
    flowtape servers start
    """
    for name, process in servers.start(settings, click.echo).items():
        click.echo(f"{name}  ready  pid {process.pid}  {_ports(process)}")


@command(servers_group, "stop")
def servers_stop(settings: Settings) -> None:
    """Stop what was started under data_dir.

    \b
    flowtape servers stop
    """
    servers.stop(Path(settings.data_dir), click.echo)


@command(servers_group, "status")
def servers_status(settings: Settings) -> int:
    """Which servers run, and on which ports; exit code 1 if one does not.

    \b
    flowtape servers status
    """
    state = servers.running(Path(settings.data_dir))
    for name in servers.wanted(settings):
        process = state.get(name)
        alive = process is not None and process.alive()
        click.echo(f"{name}  {'running' if alive else 'stopped'}  {_ports(process) if process else ''}")
    return 0 if all(name in state and state[name].alive() for name in servers.wanted(settings)) else 1


def _ports(process: servers.Running) -> str:
    return "  ".join(f"{role} {port}" for role, port in process.ports.items())


@command(cli)
def migrate(settings: Settings) -> int:
    """Create or update streams, buckets, tables and views. Safe to run again.

    \b
    flowtape migrate
    """
    from flowtape.migrate import run

    return run(servers.resolve(settings), click.echo)


@command(cli)
@_EXCHANGE
def produce(settings: Settings, exchange: str) -> int:
    """Trades, liquidations and books of an exchange into the log.

    \b
    flowtape produce binance
    """
    from flowtape import worker
    from producers import _run

    _configured(settings, exchange)
    return worker.run(
        settings, "producer", f"produce-{exchange}",
        _with_bar(lambda nats, _, stop, health: _run.produce(exchange, settings, nats, stop, health)),
    )  # fmt: skip


@command(cli)
@_EXCHANGE
def klines(settings: Settings, exchange: str) -> int:
    """Klines, open interest and funding of an exchange into the log: history first, then as they close.

    \b
    flowtape klines binance
    """
    from flowtape import worker
    from producers import _run

    _configured(settings, exchange)
    return worker.run(
        settings, "producer", f"klines-{exchange}",
        _with_bar(lambda nats, _, stop, health: _run.klines(exchange, settings, nats, stop, health)),
    )  # fmt: skip


def _with_bar(work: Any) -> Any:
    """The same work, with a bar on the terminal, if there is one, for as long as history is being read."""
    from flowtape.backfill import watch

    async def shown(nats: Any, cache: Any, stop: asyncio.Event, health: dict[str, Any]) -> None:
        bar = asyncio.create_task(watch(health, sys.stderr))
        try:
            await work(nats, cache, stop, health)
        finally:
            bar.cancel()

    return shown if sys.stderr.isatty() else work


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else time.parse(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is neither an ISO 8601 time nor microseconds") from error


@command(cli)
@click.argument("word")
@_EXCHANGE
@click.argument("symbol")
@click.option("--from", "begin", required=True, callback=_moment, help="ISO 8601 (UTC) or microseconds.")
@click.option("--to", "end", callback=_moment, show_default="now", help="Not included.")
@click.option(
    "--interval", "intervals", multiple=True, show_default="[klines] intervals", help="Of klines; repeatable."
)
def backfill(
    settings: Settings, word: str, exchange: str, symbol: str, begin: int, end: int | None, intervals: tuple[str, ...]
) -> int:
    """Read a part of an exchange's history into the log: trades, klines, open_interest or funding of one symbol.

    Asking again changes nothing: what came twice is one row.

    \b
    flowtape backfill klines binance BTC-USDT --from 2026-01-01 --to 2026-02-01 --interval 1m
    flowtape backfill trades binance BTC-USDT --from 2026-01-01T08:00 --to 2026-01-01T12:00
    """
    from flowtape.backfill import run
    from producers._order import WORDS, Order

    channel = WORD[word].channel if word in WORD else word
    if channel not in WORDS:
        raise ConfigError(
            "command line", word, f"no exchange keeps a history of it; there is one of {', '.join(WORDS)}"
        )
    now = clocks.time_ns() // 1000
    end = now if end is None else end
    if not begin < min(end, now):
        raise ConfigError("command line", "--from", "must be before --to, and in the past")
    for interval in intervals:
        try:
            time.duration(interval)
        except ValueError as error:
            raise ConfigError("command line", "--interval", str(error)) from error
    if intervals and channel != "klines":
        raise ConfigError("command line", "--interval", f"{channel} has none")
    lengths = intervals or tuple(settings.klines.intervals)
    return run(settings, Order(channel, exchange, symbol, begin, end, lengths))


@command(cli)
@click.argument("words", nargs=-1)
def consume(settings: Settings, words: tuple[str, ...]) -> int:
    """Move events from the log into the tables; all of them, or those named.

    \b
    flowtape consume trades klines
    """
    from consumers import _run
    from flowtape import worker

    names = [WORD[word].channel if word in WORD else word for word in words]
    return worker.run(
        settings, "consumer", "-".join(("consume", *names)),
        lambda nats, _, stop, health: _run.consume(names, settings, nats, stop, health),
    )  # fmt: skip


@command(cli)
@click.argument("names", nargs=-1)
@click.option("--once", is_flag=True, help="Compute from the tables, write the keys and exit.")
@click.option("--partition", default="1/1", show_default=True, help="Compute this part of the symbols, e.g. 2/4.")
@click.option("--prefix", default="", callback=_prefix, help="Read a replay, write keys PREFIX:…, end with it.")
def signal(settings: Settings, names: tuple[str, ...], once: bool, partition: str, prefix: str) -> int:
    """Compute every signal from the log into Redis, or those named.

    \b
    flowtape signal
    flowtape signal liquidations funding
    flowtape signal --partition 2/4       one of four processes that share the symbols
    flowtape signal footprint --once      for cron
    flowtape signal new pressure          write a signal of your own, with its test
    flowtape signal pressure              run it, in a process of its own
    flowtape signal alerts                watch for the rules of [[alerts]]
    flowtape signal --prefix replay       from what flowtape replay publishes
    """
    from flowtape import worker
    from signals import _run
    from signals._partition import parse
    from signals._replayed import compute

    if names[:1] == ("new",):
        return _new_signal(settings, names[1:])
    if once and prefix:
        raise ConfigError("command line", "--once", "a replay has no tables to compute from")
    try:
        part = parse(partition)
    except ValueError as error:
        raise ConfigError("command line", "--partition", str(error)) from error
    try:
        return worker.run(
            settings, "signal", "-".join(("signal", *names, *filter(None, (prefix,)))) + part.suffix,
            lambda nats, cache, stop, health: (
                compute(prefix, list(names), settings, nats, cache, stop, health, part=part)
                if prefix
                else _run.signal(list(names), settings, nats, cache, stop, health, part=part, once=once)
            ),
        )  # fmt: skip
    except _run.Unreachable as error:
        click.echo(f"flowtape: {error}", err=True)
        return 1


def _new_signal(settings: Settings, names: tuple[str, ...]) -> int:
    from signals._own_new import write

    if len(names) != 1:
        raise ConfigError("command line", "signal new", "takes one name")
    folder = settings.signals.folder or "my_signals"
    for file in write(names[0], folder):
        click.echo(f"wrote {file}")
    if not settings.signals.folder:
        click.echo(f'add to flowtape.toml, under [signals]:  folder = "{folder}"')
    return 0


@command(cli)
def web(settings: Settings) -> int:
    """Serve the page, the API and other people's charts.

    \b
    flowtape web
    flowtape --config flowtape.toml web
    """
    from flowtape import bus, worker
    from flowtape.status import collect
    from web import _run

    return worker.run(
        settings, "app", "web",
        lambda nats, cache, stop, health: _run.web_server(
            settings, nats, cache, stop, health,
            status=lambda: collect(settings), connect=lambda role: bus.connect(settings, role, reconnect=False),
        ),
    )  # fmt: skip


@command(cli)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default="a free one", type=click.IntRange(0, 65_535))
@click.option("--seed", default=1, show_default=True)
@click.option("--symbols", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--rate", default=200.0, show_default=True, help="Trades a second of each exchange.")
def simulate(settings: Settings, host: str, port: int, seed: int, symbols: int, rate: float) -> int:
    """Serve simulated exchanges over real WebSocket and REST: ws://HOST:PORT/<exchange>.

    \b
    flowtape simulate --port 9001 --rate 500
    """
    from flowtape.simulation import run

    del settings
    return run(host, port, seed=seed, symbols=symbols, rate=rate)


@command(cli)
@_EXCHANGE
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="Else EXCHANGE-TIME.frames.")
@click.option("--for", "seconds", type=_Duration(), help="Stop by itself after this long, e.g. 60s.")
@click.option("--limit", type=_Bytes(), default="10GB", show_default=True, help="Stop by itself at this size.")
def record(settings: Settings, exchange: str, file: Path | None, seconds: float | None, limit: int) -> int:
    """Write what an exchange sends into a file, as it comes; needs no servers. Ctrl-C loses nothing.

    \b
    flowtape record binance --for 60s --to binance.frames
    flowtape decode binance binance.frames       the events in it
    flowtape play binance.frames                 the exchange again
    """
    from flowtape.recording import record as run

    _configured(settings, exchange)
    named = f"{exchange}-{clocks.strftime('%Y%m%dT%H%M%SZ', clocks.gmtime())}.frames"
    return run(settings, exchange, file or Path(named), seconds, limit)


@command(cli)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--speed", type=_Speed(), default="1", show_default=True, help="Times as fast as it came, or max.")
@click.option("--port", default=0, show_default="a free one", type=click.IntRange(0, 65_535))
def play(settings: Settings, file: Path, speed: float, port: int) -> int:
    """Serve a recording as the exchange it was made of, for a producer whose ws_url and rest_url point here.

    It ends when all is sent, or nobody comes for the rest.

    \b
    flowtape play binance.frames --port 9002 --speed max
    FLOWTAPE_EXCHANGES_BINANCE_WS_URL=ws://127.0.0.1:9002 \\
    FLOWTAPE_EXCHANGES_BINANCE_REST_URL=http://127.0.0.1:9002 flowtape produce binance
    """
    from flowtape.recording import play as run

    del settings
    return run(file, port, speed)


@command(cli)
@_EXCHANGE
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--instruments", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="REST body.")
def decode(_settings: Settings, exchange: str, file: IO[bytes], instruments: Path | None) -> int:
    """Turn recorded frames, of FILE or on standard input, into events, one per line.

    \b
    flowtape decode binance < frames.jsonl
    flowtape decode binance binance.frames       what flowtape record wrote
    """
    from producers._decode import decode as run
    from producers._exchange import NoProducer

    body = instruments.read_bytes() if instruments else None
    try:
        return run(exchange, file, body, sys.stdout.buffer, sys.stderr)
    except NoProducer as error:
        raise ConfigError("command line", exchange, "there is no producer for it") from error


@command(cli)
@click.argument("subject")
def sub(settings: Settings, subject: str) -> int:
    """Print events as they come.

    \b
    flowtape sub 'md.trade.*.BTC-USDT'
    flowtape sub 'sig.footprint.>'
    """
    from flowtape.sub import follow

    return asyncio.run(follow(servers.resolve(settings), subject, sys.stdout.buffer))


@command(cli)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(settings: Settings, as_json: bool) -> int:
    """Servers, workers, rows, lag, footprints; exit code 1 when something is down.

    \b
    flowtape status
    flowtape status --json
    """
    from flowtape.status import show

    return asyncio.run(show(servers.resolve(settings), as_json=as_json))


@command(cli)
def top(settings: Settings) -> int:
    """A live full-screen view: exchanges, rates, lag, gaps, hottest symbols, liquidations, one footprint.

    Keys: q quits, n and p (or the arrows) switch the symbol.

    \b
    flowtape top
    """
    from flowtape.top import show

    return asyncio.run(show(servers.resolve(settings)))


def _exchanges(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_exchange(ctx, param, value) for value in values))


@command(cli)
@click.argument("exchanges", nargs=-1, callback=_exchanges)
@click.option("--all", "every", is_flag=True, help="Every exchange there is, configured or not.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(settings: Settings, exchanges: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Whether exchanges answer from here, the clock, what is blocked; exit code 1 when something is wrong.

    \b
    flowtape doctor                   the exchanges of flowtape.toml
    flowtape doctor kraken --json
    flowtape doctor --all
    """
    from flowtape.doctor import run

    return run(settings, EXCHANGES if every else exchanges or tuple(settings.exchanges), as_json=as_json)


@command(cli)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def gaps(settings: Settings, as_json: bool) -> int:
    """Holes in the data: what is missing, what was filled, on what evidence.

    \b
    flowtape gaps
    flowtape gaps --json
    """
    from flowtape.gaps import show

    return asyncio.run(show(servers.resolve(settings), as_json=as_json))


@command(cli)
@click.argument("exchanges", nargs=-1, callback=_exchanges)
@click.option("--from", "begin", type=_Time(), help="ISO 8601 or µs; else 24 hours ago.")
@click.option("--to", "end", type=_Time(), help="ISO 8601 or µs; else now.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def audit(
    settings: Settings, exchanges: tuple[str, ...], begin: int | None, end: int | None, as_json: bool
) -> int:  # fmt: skip
    """Completeness of each hour of trades, against ids and the exchange's candles; exit code 1 when some are missing.

    \b
    flowtape audit
    flowtape audit binance --from 2026-11-22 --to 2026-11-23 --json
    """
    from flowtape.audit import show

    end = _now() if end is None else end
    begin = end - time.DAY if begin is None else begin
    return asyncio.run(show(servers.resolve(settings), exchanges, begin, end, as_json=as_json))


@command(cli)
@click.option("--from", "begin", type=_Time(), required=True, help="ISO 8601 or µs, by receipt.")
@click.option("--to", "end", type=_Time(), help="ISO 8601 or µs; else now.")
@click.option("--speed", type=_Speed(), default="1", show_default=True, help="Times as fast as it came, or max.")
@click.option("--prefix", default="replay", show_default=True, callback=_prefix, help="First token of its subjects.")
@click.option("--keep", type=_Bytes(), default="2GB", show_default=True, help="Bound of the stream it is put into.")
@click.option("--again", is_flag=True, help="Replace an earlier replay under this prefix.")
def replay(
    settings: Settings, begin: int, end: int | None, speed: float, prefix: str, keep: int, again: bool
) -> int:  # fmt: skip
    """Publish history again, in the order it came in, on PREFIX.md.…; PREFIX.md.end is the last message.

    \b
    flowtape replay --from 2026-11-22T10:00 --to 2026-11-22T11:00 --speed 10
    flowtape replay --from 2026-11-22 --speed max --prefix test &  flowtape signal --prefix test
    """
    from flowtape.replay import Order
    from flowtape.replay import replay as run

    return asyncio.run(run(servers.resolve(settings), Order(prefix, *_range(begin, end), speed, keep, again)))


@cli.group()
def rebuild() -> None:
    """Fill tables or keys of a range again from the log, while everything goes on.

    \b
    flowtape rebuild tables --from 2026-11-22 --to 2026-11-23
    flowtape rebuild tables trades candles --from 2026-11-22T10:00
    flowtape rebuild signals --from 2026-11-22T10:00
    """


@command(rebuild, "tables")
@click.argument("words", nargs=-1)
@click.option("--from", "begin", type=_Time(), required=True, help="ISO 8601 or µs, by the rows' own time.")
@click.option("--to", "end", type=_Time(), help="ISO 8601 or µs, not included; else now.")
def rebuild_tables(settings: Settings, words: tuple[str, ...], begin: int, end: int | None) -> int:
    """Write the rows of a range again from the log; of all tables, or of those named. No row comes twice.

    \b
    flowtape rebuild tables --from 2026-11-22 --to 2026-11-23
    flowtape rebuild tables trades --from 2026-11-22T10:00
    """
    from flowtape.rebuild import tables as run

    return run(settings, words, *_range(begin, end))


@command(rebuild, "signals")
@click.option("--from", "begin", type=_Time(), required=True, help="ISO 8601 or µs, by the candles' open time.")
@click.option("--to", "end", type=_Time(), help="ISO 8601 or µs, not included; else now.")
def rebuild_signals(settings: Settings, begin: int, end: int | None) -> int:
    """Compute the closed candles of a range anew from the log, and write to Redis what is missing or differs.

    A range that ends now also makes every running signal write all its keys again.

    \b
    flowtape rebuild signals --from 2026-11-22T10:00
    flowtape rebuild signals --from 2026-11-22T08:00 --to 2026-11-22T09:00
    """
    from flowtape.rebuild import signals as run

    return run(settings, *_range(begin, end))


def _range(begin: int, end: int | None) -> tuple[int, int]:
    """Raises UsageError for a range that holds nothing."""
    end = _now() if end is None else end
    if not begin < end:
        raise click.UsageError("--from must lie before --to (which is now where it is left out)")
    return begin, end


def _now() -> int:
    return clocks.time_ns() // 1000


def main() -> None:
    """The entry point."""
    lose_no_cancellation()
    try:
        cli(standalone_mode=True)
    except BrokenPipeError:
        sys.exit(0)
