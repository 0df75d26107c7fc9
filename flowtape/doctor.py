"""``flowtape doctor``: do the exchanges' hosts answer from this machine, is its clock right, and what is blocked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from flowtape import probe
from flowtape.probe import Clock, Found
from producers._exchange import Exchange, NoProducer, Options, Rest, directory, load
from producers._rest import redirected
from schemas.settings import ConfigError, ExchangeSettings, Settings

CLOCK_WRONG_MS = 1_000.0
"""A clock further off makes delays and staleness look other than they are."""
PROGRESS_S = 2.0
LOOKUPS_MAX = 64
"""Names looked up at once: a dead name server holds each for seconds."""
_EXAMPLES = ("BTC-USDT", "BTC-USD", "BTC-USDT-PERP", "BTC-USDC-PERP", "BTC-USD-PERP", "BTC-USD-BTC-PERP")
"""Symbols that lead to an exchange's sockets where none is configured."""


class Report(msgspec.Struct, kw_only=True):
    """What is known of one exchange after asking its hosts."""

    rest: Found
    websocket: list[Found]
    rest_others: list[Found] = []
    """Further REST hosts, where an exchange has several."""
    clock: Clock | None
    blocked: list[str]
    problems: list[str]


async def examine(
    settings: Settings, exchanges: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> dict[str, Report]:
    """Ask every host of ``exchanges`` at once; ``say`` gets progress. Raises ConfigError for one without producer."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS_MAX, "lookup"))
    declared = {name: _declared(name) for name in exchanges}
    tasks = {name: asyncio.create_task(_one(settings, name, declared[name])) for name in exchanges}
    waiting = asyncio.create_task(_progress(tasks, say))
    try:
        return {name: await task for name, task in tasks.items()}
    finally:
        waiting.cancel()


def _declared(name: str) -> Exchange:
    try:
        return load(name)
    except NoProducer as error:
        raise ConfigError("configuration", f"exchanges.{name}", "there is no producer for it") from error


async def _progress(tasks: Mapping[str, asyncio.Task[Report]], say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        left = [name for name, task in tasks.items() if not task.done()]
        say(f"{len(tasks) - len(left)} of {len(tasks)} exchanges have answered; waiting for {', '.join(left)}")


async def _one(settings: Settings, name: str, declared: Exchange) -> Report:
    its = settings.exchanges.get(name) or ExchangeSettings()
    sockets = asyncio.gather(*map(probe.websocket, _sockets(name, declared, its)))
    budgets = Path(settings.data_dir) / "budget"
    others = asyncio.gather(*(probe.rest(one, its.rest_url, budgets) for one in _others(declared.rest, its)))
    rest, clock = await probe.rest(declared.rest, its.rest_url, budgets)
    others_found = [found for found, _ in await others]
    sockets_found = await sockets
    found = [rest, *others_found, *sockets_found]
    problems = [f"{_host(it)}: {it.problem}" for it in found if it.problem]
    if clock is not None and abs(clock.offset_ms) - clock.resolution_ms > CLOCK_WRONG_MS:
        where = "ahead of" if clock.offset_ms > 0 else "behind"
        problems.append(f"this machine's clock is {abs(clock.offset_ms) / 1_000:,.1f} s {where} the exchange's")
    blocked = sorted({_host(it) for it in found if it.blocked})
    return Report(
        rest=rest, websocket=sockets_found, rest_others=others_found, clock=clock, blocked=blocked, problems=problems
    )  # fmt: skip


def _others(declared: Rest, its: ExchangeSettings) -> list[Rest]:
    """The hosts of instrument lists that are not the one which is asked anyway, each as what to ask of it."""
    first = declared.time.request if declared.time else declared.instruments[0]
    asked = {urlsplit(redirected(first.url, its.rest_url)).netloc}
    found = []
    for request in declared.instruments:
        host = urlsplit(redirected(request.url, its.rest_url)).netloc
        if host not in asked:
            asked.add(host)
            found.append(msgspec.structs.replace(declared, time=None, instruments=(request,)))
    return found


def _sockets(name: str, declared: Exchange, its: ExchangeSettings) -> list[str]:
    """The sockets that what is configured would use, each once."""
    known = directory(declared, name)
    natives = [native for symbol in its.symbols if (native := known.native(symbol))]
    natives = natives or [native for symbol in _EXAMPLES if (native := declared.spelled(symbol))]
    found: dict[str, None] = {}
    for word in its.channels or declared.channels:
        topics = declared.channels[word].topics if word in declared.channels else None
        for native in natives if topics else ():
            assert topics is not None
            found |= dict.fromkeys(redirected(topic.url, its.ws_url) for topic in topics(native, Options()))
    return list(found)


def _host(found: Found) -> str:
    return urlsplit(found.url).netloc


def run(settings: Settings, exchanges: Sequence[str], *, as_json: bool) -> int:
    """Print the reports; 0 when all is well, else 1."""
    reports = asyncio.run(examine(settings, exchanges, lambda line: print(line, file=sys.stderr, flush=True)))
    ok = not any(report.problems for report in reports.values())
    if as_json:
        body = msgspec.json.encode({"ok": ok, "exchanges": reports})
        sys.stdout.buffer.write(msgspec.json.format(body, indent=2) + b"\n")
    else:
        _print(reports)
    return 0 if ok else 1


def _print(reports: Mapping[str, Report]) -> None:
    console = Console(soft_wrap=True)
    table = Table("exchange", "REST", "WebSocket", "our clock is ahead by")
    for name, it in reports.items():
        clock = f"{it.clock.offset_ms:+,.0f} ms ± {it.clock.resolution_ms:,.0f}" if it.clock else "unknown"
        table.add_row(
            name,
            "\n".join(map(_brief, [it.rest, *it.rest_others])),
            "\n".join(map(_brief, it.websocket)) or "none",
            clock,
        )
    console.print(table)
    for name, it in reports.items():
        for problem in dict.fromkeys(it.problems):
            console.print(f"! {name}: {problem}", style="red", markup=False, highlight=False)


def _brief(found: Found) -> str:
    if found.blocked:
        return "blocked"
    return "no" if found.problem else f"{found.latency_ms:,.0f} ms"
