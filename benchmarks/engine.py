"""The whole engine: coalesced messages in, every signal computed, keys written to a real Redis; and the same tape in
polars and DuckDB, which see all of it at once."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import polars as pl
from redis.asyncio import Redis

from benchmarks.kernel import columns, core_of
from schemas.events import Trade, encode
from schemas.names import event_subject
from schemas.settings import Settings
from signals._board import SIGNALS, Board
from signals._core import Core
from signals._decode import Message
from signals._layout import Columns
from signals._redis import Watermark, Writer

TOGETHER, BATCH, RATE = 50, 5_000, 150_000
"""Events a message, events a batch, and trades a second of the tape's own time."""
FLUSH_S = 0.25


def messages(tape: Columns, first: int = 0) -> list[Message]:
    """The tape as coalesced messages of each symbol, in order of time; ids from ``first`` on."""
    made: list[Message] = []
    waiting: dict[int, list[bytes]] = {}
    names: dict[int, str] = {}
    for n, (slot, stamp, price, quantity, value, is_sell) in enumerate(
        zip(
            tape.slot.tolist(), tape.timestamp.tolist(), tape.price.tolist(), tape.quantity.tolist(),
            tape.value.tolist(), tape.is_sell.tolist(), strict=True,
        )
    ):  # fmt: skip
        trade = Trade("binance", f"S{slot:03}-USDT", stamp, stamp, str(first + n), price, quantity, value, is_sell)
        names[slot] = event_subject(trade)
        lines = waiting.setdefault(slot, [])
        lines.append(encode(trade))
        if len(lines) == TOGETHER:
            made.append(Message(names[slot], b"\n".join(lines), len(made) + 1))
            lines.clear()
    rest = [Message(names[slot], b"\n".join(lines), 0) for slot, lines in waiting.items() if lines]
    return made + [one._replace(sequence=len(made) + n + 1) for n, one in enumerate(rest)]


class Costs(msgspec.Struct):
    """Trades a second of each part alone and of all together."""

    whole: float
    decode: float
    fold: float
    flush_s: float
    flushes: int


async def _run(settings: Settings, core: Core, batches: list[list[Message]], count: int) -> Costs:
    redis = Redis.from_url(settings.redis.url)
    board = Board(core, Writer(redis, "watermark:bench", 200), SIGNALS)
    spent = {"decode": 0.0, "fold": 0.0, "flush": 0.0}
    began = flushed = time.perf_counter()
    flushes = 0
    for batch in batches:
        at = time.perf_counter()
        tape = core.decode(batch)
        decoded = time.perf_counter()
        core.fold(tape)
        core.ledger.outgoing.clear()
        core.watch.outgoing.clear()
        folded = time.perf_counter()
        if folded - flushed >= FLUSH_S:
            await board.flush(Watermark(batch[-1].sequence, "bench"), folded)
            flushed, flushes = time.perf_counter(), flushes + 1
            spent["flush"] += flushed - folded
        spent["decode"] += decoded - at
        spent["fold"] += folded - decoded
    await board.flush(Watermark(batches[-1][-1].sequence, "bench"), time.perf_counter(), last=True)
    whole = count / (time.perf_counter() - began)
    await redis.flushdb()
    await redis.aclose()
    return Costs(whole, count / spent["decode"], count / spent["fold"], spent["flush"], flushes)


def measure(settings: Settings, count: int, symbols: int) -> Costs:
    """Every signal over ``count`` trades on one core, Redis flushes included; ``settings`` name a Redis to use."""
    tape = columns(count, symbols, count * 1_000_000 // RATE)
    made = messages(tape)
    size = BATCH // TOGETHER
    batches = [made[at : at + size] for at in range(0, len(made), size)]
    return asyncio.run(_run(settings, core_of(symbols), batches, count))


def others(count: int, symbols: int) -> dict[str, float]:
    """Trades a second of footprint rows by minute from the same columns in memory, by polars and DuckDB, one thread."""
    tape = columns(count, symbols, count * 1_000_000 // RATE)
    table = pl.DataFrame(
        {"s": tape.slot, "t": tape.timestamp, "p": tape.price, "q": tape.quantity, "sell": tape.is_sell}
    )
    began = time.perf_counter()
    table.group_by("s", pl.col("t") // 60_000_000, (pl.col("p") * 0.5).floor(), "sell").agg(pl.col("q").sum())
    by_polars = count / (time.perf_counter() - began)
    arrow: Any = table.to_arrow()  # noqa: F841  # DuckDB reads it by name
    with duckdb.connect(config={"threads": 1}) as base:
        base.execute("CREATE TABLE tape AS SELECT * FROM arrow")
        began = time.perf_counter()
        base.execute("SELECT s, t // 60000000 m, floor(p * 0.5) r, sell, sum(q) FROM tape GROUP BY ALL").fetchnumpy()
        by_duckdb = count / (time.perf_counter() - began)
    return {"polars": by_polars, "DuckDB": by_duckdb}


def memory(symbols: int, minutes: int) -> float:
    """Peak MB of this process with an engine over ``symbols`` symbols that trade for ``minutes`` minutes."""
    core = core_of(symbols)
    rng = np.random.default_rng(3)
    for minute in range(minutes):
        tape = columns(symbols * 40, symbols, 60_000_000)
        slots = rng.integers(0, symbols, len(tape.slot))
        moved = tape._replace(slot=slots, timestamp=tape.timestamp + minute * 60_000_000)
        core.engine.apply(moved)
        core.ledger.outgoing.clear()
        core.watch.outgoing.clear()
        if minute % 5 == 4:
            core.store(Watermark(minute, "bench"))
    return _peak()


def _peak() -> float:
    """MB this process has held at most. ``ru_maxrss`` would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")) / 1e3


def memory_alone(symbols: int, minutes: int) -> float:
    """The same in a process of its own, so that nothing else is counted."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", str(symbols), str(minutes)],
        capture_output=True,
        check=True,
        text=True,
    )
    return float(answer.stdout)


if __name__ == "__main__":
    sys.stdout.write(f"{memory(int(sys.argv[1]), int(sys.argv[2])):.0f}\n")
