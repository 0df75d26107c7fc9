"""``flowtape rebuild``: a range filled again from the log, beside what runs; and what of it the log no longer has."""

from __future__ import annotations

import asyncio
import sys
import time as clocks
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.client import Client

from consumers._questdb import Questdb
from consumers._rebuild import Rebuild, Rebuilt
from consumers._run import chosen, clock
from flowtape import servers, worker
from flowtape.backfill import Bar
from flowtape.log import Enduring
from schemas import time
from schemas.settings import Settings

SHORT_SHOWN = 5


def tables(settings: Settings, words: Sequence[str], begin: int, end: int) -> int:
    """Fill tables again with what the log has of ``begin`` to before ``end`` (µs).

    0, or 1 where the log has nothing of it or not all, 130 after Ctrl-C. Raises ConfigError for no such table.
    """
    bar = Bar(Enduring(sys.stderr))  # type: ignore[arg-type]  # all of a TextIO that is used
    wanted, found = chosen(list(words)), list[Rebuilt]()

    its = servers.resolve(settings)

    def progress(name: str) -> Callable[[int, int], None]:
        return lambda done, total: bar.show(done, total, f"{name}: {done:,} messages")

    async def work(nats: Client, _: Any, stop: asyncio.Event, health: dict[str, Any]) -> None:
        questdb = Questdb(its.questdb.pg)
        try:
            for table in wanted:
                health["table"] = table.name
                rebuild = Rebuild(
                    table, its, nats, questdb, begin, end, stop=stop, told=progress(table.name), clock=clock,
                    monotonic=clocks.monotonic,
                )  # fmt: skip
                found.append(await rebuild.run())
                bar.end()
                if stop.is_set():
                    return
        finally:
            await questdb.close()

    code = worker.run(settings, "consumer", "rebuild-tables", work)
    bar.end()
    told = [_told(each, begin, end) for each in found]
    if code or not all(each.whole for each in found):
        print("flowtape: stopped; what was written stays, and the same command writes no row twice", file=sys.stderr)
        return code
    if not any(each.events for each in found):
        print(f"flowtape: the log has nothing of {time.iso(begin)} to {time.iso(end)}", file=sys.stderr)
        return 1
    return 0 if all(told) else 1


def _told(done: Rebuilt, begin: int, end: int) -> bool:
    """Say what became of one table; whether the log had all of the range, as far as can be known."""
    left = [f"{done.expired:,} older than the table keeps"] * bool(done.expired)
    left += [f"{done.unfit:,} unfit (flowtape's dead letters have them)"] * bool(done.unfit)
    beside = f"; left out: {', '.join(left)}" if left else ""
    print(f"{done.table}: {done.rows:,} rows of {done.events:,} events{beside}")
    if done.since:
        until = min(done.since, end)
        hint = "flowtape backfill asks the exchange" if done.table in ("trades", "klines", "open_interest", "funding") \
            else "nobody has it"  # fmt: skip
        print(
            f"flowtape: {done.table}: not covered: {time.iso(begin)} to {time.iso(until)}, "
            f"the log begins at {time.iso(done.since)} ({hint})",
            file=sys.stderr,
        )
    for subject, since in sorted(done.short.items())[:SHORT_SHOWN]:
        print(f"flowtape: {done.table}: not covered: {subject} before {time.iso(since)}", file=sys.stderr)
    if len(done.short) > SHORT_SHOWN:
        print(f"flowtape: {done.table}: and {len(done.short) - SHORT_SHOWN} subjects more", file=sys.stderr)
    return not (done.since or done.short)
