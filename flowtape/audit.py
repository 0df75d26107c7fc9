"""``flowtape audit``: how complete each hour of each symbol's trades is, and on what evidence."""

from __future__ import annotations

import asyncio
import sys
import time as clocks
from collections import defaultdict

import msgspec
from rich.console import Console
from rich.table import Column, Table

from consumers._completeness import Audit, store
from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable
from consumers._verdict import Completeness
from schemas import time
from schemas.settings import Settings

SHOWN_MAX = 50


async def audit(settings: Settings, exchanges: tuple[str, ...], begin: int, end: int) -> list[Completeness]:
    """Compare now, and put the outcome into the table. Raises QuestdbUnreachable, QuestdbRefused."""
    questdb = Questdb(settings.questdb.pg)
    try:
        rows = await Audit(settings, questdb).run(begin, end, clocks.time_ns() // 1000)
    finally:
        await questdb.close()
    await asyncio.to_thread(store, settings, rows)
    return [row for row in rows if not exchanges or row.exchange in exchanges]


async def show(settings: Settings, exchanges: tuple[str, ...], begin: int, end: int, *, as_json: bool) -> int:
    """Print the audit; 1 where something is missing or the tables cannot be read."""
    try:
        rows = await audit(settings, exchanges, begin, end)
    except (QuestdbUnreachable, QuestdbRefused) as error:
        sys.stderr.write(f"flowtape: {error}\n")
        return 1
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode({"hours": rows}), indent=2) + b"\n")
    else:
        _print(rows)
    return 1 if any(row.verdict == "missing" for row in rows) else 0


def _print(rows: list[Completeness]) -> None:
    console = Console()
    if not rows:
        console.print("nothing to audit: no trades and no candles in these hours")
        return
    series: dict[tuple[str, str], list[Completeness]] = defaultdict(list)
    for row in rows:
        series[row.exchange, row.symbol].append(row)
    table = Table(Column("symbol", no_wrap=True), "hours", "least", "missing", "evidence", "verdicts")
    for (exchange, symbol), its in series.items():
        verdicts = {verdict: sum(row.verdict == verdict for row in its) for verdict in {row.verdict for row in its}}
        percents = [row.percent for row in its if row.percent is not None]
        table.add_row(
            f"{exchange}:{symbol}", str(len(its)), _percent(min(percents, default=None)),
            str(sum(row.missing or 0 for row in its)), its[-1].evidence,
            ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())),
        )  # fmt: skip
    console.print(table)
    bad = [row for row in rows if row.verdict not in ("complete", "quiet")]
    if not bad:
        return
    name = Column("symbol", no_wrap=True)
    table = Table("hour", name, "verdict", "percent", "there", "expected", "candles", "volume")
    for row in sorted(bad, key=lambda row: -row.timestamp)[:SHOWN_MAX]:
        volume = "" if row.volume is None else f"{row.volume:g} of {row.candle_volume:g}"
        expected = "?" if row.expected is None else f"{row.expected:,}"
        table.add_row(time.iso(row.timestamp)[:16], f"{row.exchange}:{row.symbol}", row.verdict,
                      _percent(row.percent), f"{row.present:,}", expected, str(row.candles), volume)  # fmt: skip
    console.print(table)
    if len(bad) > SHOWN_MAX:
        console.print(f"and {len(bad) - SHOWN_MAX} more hours; --json has them all")


def _percent(percent: float | None) -> str:
    """Cut off, not rounded: what lacks one of a million is not 100 %."""
    return "unknown" if percent is None else f"{int(percent * 1000) / 1000:.3f} %"
