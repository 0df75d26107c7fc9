"""``make bench``: one table, each figure beside its limit measured in the same run. ``--quick`` for a small one.

What they measure and what came out: docs/performance.md.
"""

from __future__ import annotations

import os
import sys

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


def main(quick: bool) -> None:
    """Measure everything and print the table."""
    scale = 1 if quick else 4
    table = Table("what", "measured", "limit in this run", "share", "goal", "met", title="flowtape benchmarks")
    for transport in ("websockets", "picows"):
        _say(f"whole path over {transport}, bare then product (about a minute)")
        bare = path.bare(100_000 * scale, 10, transport)
        product = path.product(100_000 * scale, 10, transport)
        _row(
            table, f"socket to rows and footprints, {transport}", product, "trades/s", bare, "bare path",
            "≥ 0.60 of the bare path", product >= 0.6 * bare,
        )  # fmt: skip
    with stack() as settings:
        _say("publishing")
        bare, single, together = publish.measure(settings, 25_000 * scale)
        _row(table, "publish, one a message", single, "events/s", bare, "core publish", "≥ 40k/s", single >= 40_000)
        _row(table, "publish, coalesced", together, "events/s", bare, "core publish", "≥ 150k/s", together >= 150_000)
    with stack() as settings:
        _say("draining")
        alone, single, together = drain.measure(settings, 25_000 * scale)
        _row(table, "drain, one a message", single, "rows/s", alone, "QuestDB alone", "≥ 30k/s", single >= 30_000)
        _row(table, "drain, coalesced", together, "rows/s", alone, "QuestDB alone", "≥ 100k/s", together >= 100_000)
    for symbols in (1, 100, 500):
        _say(f"kernel, {symbols} symbols")
        rates = kernel.measure(500_000 * scale, symbols, kernel.OPEN_US)
        goal, met = {
            1: ("≥ 0.25 of the loop", rates.fold >= 0.25 * rates.read),
            500: ("≥ 0.15 of the loop", rates.fold >= 0.15 * rates.read),
        }.get(symbols, ("≥ 50M/s", rates.fold >= 50e6))
        _row(
            table, f"footprint kernel, {symbols} symbols", rates.fold, "trades/s", rates.read, "reading loop", goal, met
        )
        _row(table, "  with detections", rates.watched, "trades/s", rates.read, "reading loop", "", True)
        rates = kernel.measure(500_000 * scale, symbols, kernel.CLOSING_US)
        _row(table, "  with candles closing", rates.watched, "trades/s", rates.read, "reading loop", "", True)
    with stack() as settings:
        _say("whole engine, 100 symbols")
        cost = engine.measure(settings, 150_000 * scale, 100)
    other = engine.others(150_000 * scale, 100)
    goal = "≥ 150k/s"
    _row(
        table, "whole engine, 100 symbols", cost.whole, "trades/s", cost.decode, "decoding", goal, cost.whole >= 150_000
    )
    for name, rate in other.items():
        _row(table, "  all signals, decoded", cost.fold, "trades/s", rate, f"{name}, rows only", "", True)
    with stack() as settings:
        _say("profile of 30 days")
        took = ranges.measure(settings)
    goal = "< 100 ms"
    _row(
        table,
        "profile of 30 days, all from the table",
        took.table,
        "ms",
        took.bare,
        "bare query",
        goal,
        took.table < 100,
    )
    _row(
        table,
        "  from Redis, the rest from the table",
        took.mixed,
        "ms",
        took.bare,
        "bare query",
        goal,
        took.mixed < 100,
    )
    with stack() as settings:
        _say("latency at 5,000 trades/s")
        late = latency.measure(settings, 7.5 * scale)
    flush = late.flush
    _row(table, "trade to Redis at 5k/s, p50", late.p50, "ms", flush, "ms flush", "≤ 1 flush", late.p50 <= flush)
    _row(table, "  p99", late.p99, "ms", flush, "ms flush", "≤ 2 flushes", late.p99 <= 2 * flush)
    with stack() as settings:
        hours = 6 * scale
        _say(f"restart of an engine with {hours} hours of trades in the log")
        again = restart.measure(settings, 250_000 * scale, hours)
    _row(
        table, f"restart, {hours} h of log, 100 symbols", 1e3 * again.again, "ms", 1e3 * again.idle, "nothing to read",
        "≤ 10 s", again.again <= 10,
    )  # fmt: skip
    _row(table, "  processor time of it", 1e3 * again.again_cpu, "ms", None, "", "", True)
    used = engine.memory_alone(500, 20)
    _row(table, "engine, 500 symbols, 8 intervals", used, "MB", None, "20 minutes", "< 600 MB", used < 600)
    _say("steady state: 2,000 trades/s over 100 symbols")
    steady_cost = steady.measure(30 * scale / 4)
    ours = {name: cores for name, cores in steady_cost.cores.items() if not name.startswith(("(", "simulator"))}
    table.add_section()
    total = sum(ours.values())
    _row(
        table,
        "all Python processes",
        100 * total,
        "% of a core",
        None,
        f"{steady_cost.trades_per_s:,.0f} trades/s",
        "< 50 %",
        total < 0.5,
    )
    for name, cores in steady_cost.cores.items():
        megabytes = steady_cost.bytes[name] / 1e6
        goal, met = ("< 250 MB", megabytes < 250) if name in ours else ("", True)
        _row(table, f"  {name}", 100 * cores, f"%  {megabytes:,.0f} MB", None, "", goal, met)
    _console.print(table)
    _console.print(f"{os.cpu_count()} cores; load before the run is in the figures: trust the shares, not the rates")


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
