"""Every exchange at once through real processes: nothing lost, nothing doubled, nothing out of range."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from consumers._questdb import query
from flowtape import status
from flowtape.migrate import provision
from schemas.symbols import EXCHANGES
from tests.conftest import free_port, started
from tests.harness import commands, eventually

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.15"))
VENUES = EXCHANGES if MINUTES > 2 else ("okx", "bitget_futures", "kraken_futures", "hyperliquid", "deribit", "bybit")
"""All of them are too many to start within a test's time on two cores."""
SYMBOLS, RATE = 8, 60
"""Of each exchange, 106 of all together; its trades a second."""
COINS = {"binance_futures": 2}
"""Contracts settled in their coin, beside those."""
OFFSETS = {
    "sim_bitget": 13 * 10**17, "sim_bitget_futures": 13 * 10**17, "sim_bybit": 229 * 10**16,
    "sim_deribit": 4 * 10**8,
}  # fmt: skip
"""Where the simulated exchange's ids begin, beside the market's own numbers."""
STALL_S = 3.0
"""Half of the shortest silence after which a busy symbol is asked for again."""
HISTORY_US = 10 * 60 * 1_000_000
"""What a first subscription may replay."""
RANGES = {
    "trades": "price > 0 AND quantity > 0 AND value > 0 AND abs(value / price / quantity - 1) < 1e-9 AND fills > 0",
    "liquidations": "price > 0 AND quantity > 0 AND value > 0 AND (side = 'long' OR side = 'short')",
    "books": "bids[1][1] > 0 AND bids[1][1] < asks[1][1] AND bids[2][1] > 0 AND asks[2][1] > 0",
    "klines": "low > 0 AND low <= open AND low <= close AND high >= open AND high >= close AND volume >= 0",
    "funding": "abs(funding_rate) < 0.1 AND mark_price > 0",
    "open_interest": "open_interest > 0",
}
"""What holds for every row."""


def number(exchange: str, trade_id: str) -> int:
    """The market's own number of a trade: some exchanges write it as the end of a UUID."""
    return int(trade_id[-12:], 16) if "-" in trade_id else int(trade_id) - OFFSETS.get(exchange, 0)


def variables(port: int) -> dict[str, str]:
    found = {}
    for exchange in VENUES:
        prefix = f"FLOWTAPE_EXCHANGES_SIM_{exchange.upper()}"
        found |= {
            f"{prefix}_WS_URL": f"ws://127.0.0.1:{port}/{exchange}", f"{prefix}_SYMBOLS": '["*"]',
            f"{prefix}_REST_URL": f"http://127.0.0.1:{port}/{exchange}",
        }  # fmt: skip
    # History is another test's: here one process plays thirteen exchanges.
    return found | {"FLOWTAPE_KLINES_BACKFILL": "off", "FLOWTAPE_TRADES_BACKFILL": "off"}


def symbols(exchange: str) -> int:
    """How many symbols an exchange is asked for."""
    return SYMBOLS + COINS.get(exchange.removeprefix("sim_"), 0)


def cost(running, seconds: float) -> None:
    """CPU and memory of each process, printed."""
    for command in running:
        assert command.process.poll() is None, command.output()[-2000:]
        process = psutil.Process(command.process.pid)
        used = process.cpu_times()
        share, resident = (used.user + used.system) / seconds, process.memory_info().rss / 1e6
        print(f"{' '.join(command.arguments[:2]):32} {share:7.1%} of a core  {resident:6.0f} MB")


async def answers(port: int) -> bool:
    """Whether the simulator listens."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def connect(stack, names) -> None:
    """Wait until every producer follows all symbols over all its connections, or at least asks over REST."""
    late: list[str] = []

    async def complete() -> bool:
        workers = (await status.collect(stack.settings))["workers"]
        late[:] = [f"{name}: {workers.get(name)}" for name in names if not _complete(workers.get(name, {}))]
        return not late

    try:
        await eventually(complete, "all producers are connected", 120 + 60 * MINUTES)
    except AssertionError as error:
        raise AssertionError("\n".join(late)) from error


def _complete(worker) -> bool:
    return worker.get("symbols") == symbols(worker.get("exchange", "")) and worker["connected"] == worker["connections"]


class Pulse:
    """How long the simulator took to answer at worst: a machine too busy for it looks like a dead exchange."""

    def __init__(self, port: int) -> None:
        self._url, self.worst_s = f"http://127.0.0.1:{port}/_state", 0.0

    async def beat(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession() as http:
            while True:
                asked = time.monotonic()
                async with http.get(self._url) as answer:
                    await answer.read()
                self.worst_s = max(self.worst_s, time.monotonic() - asked)
                await asyncio.sleep(1)


def check_health(workers, pulse: Pulse) -> None:
    """Nothing refused, broken, silent or connected anew, unless the machine itself stalled."""
    for name, worker in workers.items():
        bad = {word: worker.get(word) for word in ("bad_frames", "breaks", "rejected")}
        assert not any(bad.values()), f"{name}: {bad}"
        lost = {word: worker.get(word) for word in ("reconnects", "silent")}
        if any(lost.values()) and pulse.worst_s > STALL_S:
            pytest.skip(f"not run: the simulator was kept from running for {pulse.worst_s:.0f} s")
        assert not any(lost.values()), f"{name}: {lost}"


async def drained(stack) -> bool:
    """Whether everything in the log is in its table."""
    found = await status.collect(stack.settings)
    return found["lag"] == 0 and found["tables"]["trades"] > 0


async def check_ids(stack, port: int, began: int, ended: int) -> None:
    """Of every symbol: no number missing between first and last, none twice, and the market's own sums."""
    rows = await query(
        stack.questdb_pg,
        "SELECT exchange, symbol, trade_id, CAST(timestamp AS LONG), quantity, is_buyer_maker FROM trades",
    )
    tapes: dict[tuple[str, str], list[tuple[int, float, bool]]] = {}
    for exchange, symbol, trade_id, timestamp, quantity, maker in rows:
        assert began - HISTORY_US <= timestamp <= ended, f"{exchange} {symbol} {trade_id} at {timestamp}"
        tapes.setdefault((exchange, symbol), []).append((number(exchange, trade_id), quantity, maker))
    async with aiohttp.ClientSession() as http:
        for (exchange, symbol), trades in sorted(tapes.items()):
            ids = sorted(it[0] for it in trades)
            assert ids == list(range(ids[0], ids[-1] + 1)), f"{exchange} {symbol}: {len(ids)} ids of {ids[0]}-{ids[-1]}"
            asked = {"exchange": exchange.removeprefix("sim_"), "symbol": symbol, "from_id": ids[0], "to_id": ids[-1]}
            async with http.get(f"http://127.0.0.1:{port}/_truth", params=asked) as answer:
                truth = await answer.json()
            assert (truth["count"], truth["buyer_maker"]) == (len(ids), sum(it[2] for it in trades)), (exchange, symbol)
            assert abs(sum(it[1] for it in trades) / float(truth["quantity"]) - 1) < 1e-9, (exchange, symbol)
    for exchange in VENUES:
        its = {symbol: len(trades) for (name, symbol), trades in tapes.items() if name == f"sim_{exchange}"}
        print(f"{exchange:16} {len(its)} symbols, {sum(its.values()):,} trades, each once")
        assert len(its) == symbols(exchange), f"not run: of {exchange} only {sorted(its)} traded"


async def check_ranges(stack) -> None:
    for table, holds in RANGES.items():
        what = f"SELECT exchange, symbol, CAST(timestamp AS LONG) FROM {table}"
        odd = await query(stack.questdb_pg, f"{what} WHERE NOT ({holds}) LIMIT 3")
        assert odd == [], f"{table}: {odd}"
    rows = await query(stack.questdb_pg, "SELECT exchange, count() FROM books")
    assert len(rows) == len(VENUES), f"books of {rows}"
    if MINUTES > 2:
        rows = await query(stack.questdb_pg, "SELECT exchange, count() FROM klines")
        assert len(rows) == len(VENUES), f"klines of {rows}"


async def check_gaps(stack) -> None:
    """A stalled machine may cost a subscription and so open a gap; then it was filled."""
    rows = await query(stack.questdb_pg, "SELECT exchange, symbol, status, evidence FROM gaps ORDER BY updated")
    newest = {(exchange, symbol): (status, evidence) for exchange, symbol, status, evidence in rows}
    print(f"{len(newest)} symbols had gaps")
    assert {status for status, _ in newest.values()} <= {"filled"}, newest


@pytest.mark.soak
async def test_all_exchanges_together_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    port = free_port()
    workers = [(word, f"sim_{exchange}") for exchange in VENUES for word in ("produce", "klines")]
    simulate = ("simulate", "--port", str(port), "--symbols", str(SYMBOLS), "--rate", str(RATE))
    with started(tmp_path / "data") as stack, commands(stack, simulate) as served:
        await provision(stack.settings, lambda _line: None)
        await eventually(lambda: answers(port), "the exchanges answer")
        began, since = time.time_ns() // 1000, time.monotonic()
        with commands(stack, ("consume",), *workers, **variables(port)) as running:
            await connect(stack, ["-".join(worker) for worker in workers])
            pulse = Pulse(port)
            beating = asyncio.create_task(pulse.beat())
            await asyncio.sleep(MINUTES * 60)
            beating.cancel()
            cost([*served, *running], time.monotonic() - since)
            check_health((await status.collect(stack.settings))["workers"], pulse)
            assert [command.stop() for command in running[1:]] == [0] * len(workers)
            await eventually(lambda: drained(stack), "the log is in the tables")
            assert (await status.collect(stack.settings))["dead_letters"] == 0
            await check_ids(stack, port, began, time.time_ns() // 1000)
            await check_ranges(stack)
            await check_gaps(stack)
