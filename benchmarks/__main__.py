"""``make bench``: one table, each figure beside its limit measured in the same run. ``--quick`` for a small one.

What they measure and what came out: docs/performance.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks import drain, engine, kernel, latency, path, publish, ranges, restart, steady
from benchmarks._stack import stack

_console = Console(width=118)


def _row(
    table: Table, what: str, figure: float, unit: str, limit: float | None, limit_is: str, goal: str, met: bool
) -> None:
    share = f"{figure / limit:.2f}" if limit else ""
    against = f"{limit:,.0f} {limit_is}" if limit else limit_is
    table.add_row(what, f"{figure:,.0f} {unit}", against, share, goal, "yes" if met else "[red]no[/red]")


def _say(text: str) -> None:
    _console.print(f"[dim]{text}[/dim]")


def _path(table: Table, scale: int) -> None:
    for transport in ("websockets", "picows"):
        _say(f"whole path over {transport}, bare then product (about a minute)")
        bare = path.bare(100_000 * scale, 10, transport)
        product = path.product(100_000 * scale, 10, transport)
        _row(
            table, f"socket to rows and footprints, {transport}", product, "trades/s", bare, "bare path",
            "≥ 0.60 of the bare path", product >= 0.6 * bare,
        )  # fmt: skip


def _publish(table: Table, scale: int) -> None:
    with stack() as settings:
        bare, single, together = publish.measure(settings, 25_000 * scale)
    _row(table, "publish, one a message", single, "events/s", bare, "core publish", "≥ 40k/s", single >= 40_000)
    _row(table, "publish, coalesced", together, "events/s", bare, "core publish", "≥ 150k/s", together >= 150_000)


def _drain(table: Table, scale: int) -> None:
    with stack() as settings:
        alone, single, together = drain.measure(settings, 25_000 * scale)
    _row(table, "drain, one a message", single, "rows/s", alone, "QuestDB alone", "≥ 30k/s", single >= 30_000)
    _row(table, "drain, coalesced", together, "rows/s", alone, "QuestDB alone", "≥ 100k/s", together >= 100_000)


def _kernel(table: Table, scale: int) -> None:
    for symbols in (1, 100, 500):
        _say(f"kernel, {symbols} symbols")
        rates = kernel.measure(500_000 * scale, symbols, kernel.OPEN_US)
        goal, met = {
            1: ("≥ 0.25 of the loop", rates.fold >= 0.25 * rates.read),
            500: ("≥ 0.15 of the loop", rates.fold >= 0.15 * rates.read),
        }.get(symbols, ("≥ 50M/s", rates.fold >= 50e6))
        loop = "reading loop"
        _row(table, f"footprint kernel, {symbols} symbols", rates.fold, "trades/s", rates.read, loop, goal, met)
        _row(table, "  with detections", rates.watched, "trades/s", rates.read, loop, "", True)
        rates = kernel.measure(500_000 * scale, symbols, kernel.CLOSING_US)
        _row(table, "  with candles closing", rates.watched, "trades/s", rates.read, loop, "", True)


def _engine(table: Table, scale: int) -> None:
    with stack() as settings:
        cost = engine.measure(settings, 150_000 * scale, 100)
    _row(
        table, "whole engine, 100 symbols", cost.whole, "trades/s", cost.decode, "decoding", "≥ 150k/s",
        cost.whole >= 150_000,
    )  # fmt: skip
    for name, rate in engine.others(150_000 * scale, 100).items():
        _row(table, "  all signals, decoded", cost.fold, "trades/s", rate, f"{name}, rows only", "", True)


def _ranges(table: Table, _: int) -> None:
    with stack() as settings:
        took = ranges.measure(settings)
    for what, ms in (
        ("profile of 30 days, all from the table", took.table),
        ("  from Redis and the table", took.mixed),
    ):
        _row(table, what, ms, "ms", took.bare, "bare query", "< 100 ms", ms < 100)


def _latency(table: Table, scale: int) -> None:
    with stack() as settings:
        late = latency.measure(settings, 7.5 * scale)
    flush = late.flush
    _row(table, "trade to Redis at 5k/s, p50", late.p50, "ms", flush, "ms flush", "≤ 1 flush", late.p50 <= flush)
    _row(table, "  p99", late.p99, "ms", flush, "ms flush", "≤ 2 flushes", late.p99 <= 2 * flush)


def _restart(table: Table, scale: int) -> None:
    hours = 6 * scale
    with stack() as settings:
        again = restart.measure(settings, 250_000 * scale, hours)
    _row(
        table, f"restart, {hours} h of log, 100 symbols", 1e3 * again.again, "ms", 1e3 * again.idle, "nothing to read",
        "≤ 10 s", again.again <= 10,
    )  # fmt: skip
    _row(table, "  processor time of it", 1e3 * again.again_cpu, "ms", None, "", "", True)


def _memory(table: Table, _: int) -> None:
    used = engine.memory_alone(500, 20)
    _row(table, "engine, 500 symbols, 8 intervals", used, "MB", None, "20 minutes", "< 600 MB", used < 600)


def _steady(table: Table, scale: int) -> None:
    cost = steady.measure(30 * scale / 4)
    ours = {name: cores for name, cores in cost.cores.items() if not name.startswith(("(", "simulator"))}
    total = sum(ours.values())
    table.add_section()
    beside = f"{cost.trades_per_s:,.0f} trades/s"
    _row(table, "all Python processes", 100 * total, "% of a core", None, beside, "< 50 %", total < 0.5)
    for name, cores in cost.cores.items():
        megabytes = cost.bytes[name] / 1e6
        goal, met = ("< 250 MB", megabytes < 250) if name in ours else ("", True)
        _row(table, f"  {name}", 100 * cores, f"%  {megabytes:,.0f} MB", None, "", goal, met)


PARTS: dict[str, Callable[[Table, int], None]] = {
    "path": _path, "publish": _publish, "drain": _drain, "kernel": _kernel, "engine": _engine, "ranges": _ranges,
    "latency": _latency, "restart": _restart, "memory": _memory, "steady": _steady,
}  # fmt: skip


def main(names: Sequence[str], quick: bool) -> int:
    """Measure the parts named, or all, and print the table; 1 where one could not be measured."""
    if unknown := set(names) - PARTS.keys():
        _console.print(f"no part {', '.join(sorted(unknown))}; there are: {' '.join(PARTS)}")
        return 2
    table = Table("what", "measured", "limit in this run", "share", "goal", "met", title="flowtape benchmarks")
    code = 0
    for name in names or PARTS:
        _say(f"measuring: {name}")
        try:
            PARTS[name](table, 1 if quick else 4)
        except (AssertionError, OSError, RuntimeError, TimeoutError) as error:
            _console.print(f"{name}: {error}")
            table.add_row(name, "not measured", "", "", "", "[red]no[/red]")
            code = 1
    _console.print(table)
    _console.print(f"{os.cpu_count()} cores; load before the run is in the figures: trust the shares, not the rates")
    return code


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name != "--quick"], "--quick" in sys.argv[1:]))
