"""``flowtape rebuild``: a range filled again from the log, beside what runs; and what of it the log no longer has."""

from __future__ import annotations

import asyncio
import sys
import time as clocks
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from consumers._questdb import Questdb
from consumers._rebuild import Rebuild, Rebuilt
from consumers._run import chosen, clock
from flowtape import servers, worker
from flowtape.backfill import Bar
from flowtape.log import Enduring
from schemas import time
from schemas.settings import Settings
from signals._jetstream import StreamAnswer
from signals._rebuild import LogSilent, RegistryAway
from signals._rebuild import Rebuild as KeysRebuild
from signals._rebuild import Rebuilt as KeysRebuilt
from signals._run import spans
from signals._stream import StreamReplaced
from signals._warm import warm_up

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


def signals(settings: Settings, begin: int, end: int) -> int:
    """Compute the closed candles of ``begin`` to before ``end`` (µs) anew into Redis; where that reaches now, all keys.

    0, or 1 where there is nothing, or not all, of it, 130 after Ctrl-C. Raises ConfigError.
    """
    bar = Bar(Enduring(sys.stderr))  # type: ignore[arg-type]  # all of a TextIO that is used
    its, measured = servers.resolve(settings), spans(settings)
    found, problem = list[KeysRebuilt](), list[str]()

    async def work(nats: Client, cache: Redis, stop: asyncio.Event, _: dict[str, Any]) -> None:
        await asyncio.to_thread(warm_up)
        rebuild = KeysRebuild(
            its, measured, nats, cache, begin, end, wall=clock, monotonic=clocks.monotonic,
            told=lambda done, total: bar.show(done, total, f"{done:,} messages"),
        )  # fmt: skip
        try:
            found.append(await rebuild.run(stop))
        except (
            LogSilent,
            RegistryAway,
            StreamReplaced,
            StreamAnswer,
            NatsError,
            RedisError,
            OSError,
            TimeoutError,
        ) as e:
            problem.append(str(e) or type(e).__name__)

    code = worker.run(settings, "signal", "rebuild-signals", work)
    bar.end()
    if problem:
        print(f"flowtape: rebuild signals: {problem[0]}", file=sys.stderr)
        return 1
    if code or not found[0].whole:
        print("flowtape: stopped before all was written; the same command begins anew", file=sys.stderr)
        return code
    return 0 if _keys_told(found[0], begin, end) else 1


def _keys_told(done: KeysRebuilt, begin: int, end: int) -> bool:
    """Say what became of the keys; whether all of the range was there."""
    newer = f"; {done.newer:,} have a later revision already" if done.newer else ""
    print(
        f"{done.candles:,} closed candles of {time.iso(begin)} to {time.iso(end)} from {done.messages:,} messages: "
        f"{done.missing:,} were missing, {done.differed:,} differed{newer}"
    )
    if done.asked:
        print(f"all keys of the present written again by {len(done.asked) - len(done.silent)} signals")
    for key in done.silent:
        print(f"flowtape: nobody writes {key}: its keys come again when its process starts", file=sys.stderr)
    if not done.candles:
        print(
            "flowtape: neither log nor tables have a closed candle of that range which Redis would keep "
            "([signals] closed of each series)",
            file=sys.stderr,
        )
        return False
    if done.short_from:
        print(
            f"flowtape: not covered: candles shorter than a minute from {time.iso(begin)} to "
            f"{time.iso(done.short_from)}: the log begins later, and tables have none",
            file=sys.stderr,
        )
    if done.minutes_left:
        print(f"flowtape: {done.minutes_left} minutes lack late trades that the table has yet to get", file=sys.stderr)
    return not (done.short_from or done.minutes_left)
