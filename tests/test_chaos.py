"""Whatever breaks, in whatever order: every id is stored once, in rows as in the log, and counted once.

Rounds follow each other on one set of servers and processes. A failing round names its seed and what was done.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import redis

from consumers._questdb import QuestdbRefused, QuestdbUnreachable, query
from flowtape.migrate import provision
from schemas.names import KEY_HEALTH
from simulator._candles import id_at
from simulator._faults import Active, Fault
from simulator._market import Market
from simulator._run import serve
from simulator._server import Simulator
from tests.conftest import Stack, started
from tests.corrected import differences
from tests.harness import Command, commands, eventually
from tests.stored import marks, stored_account, whole
from tests.test_whole_path import settled

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "5"))
FAULTS_A_ROUND = 3
PATIENCE_S, READY_S_MAX = 180.0, 600.0


class World:
    """Servers, processes and the simulated exchange they listen to."""

    def __init__(self, stack: Stack, simulator: Simulator, running: list[Command], rng: random.Random) -> None:
        self.stack, self.simulator, self.rng = stack, simulator, rng
        self.workers = dict(zip(("consumer", "signals", "one producer", "other producer"), running, strict=True))
        self.desk = simulator.hubs["binance"].desk
        self.since = {tape.listing.canonical: 0 for tape in self.desk.tapes.values()}
        """By symbol, µs: before it everything has been accounted for."""

    async def kill_server(self, name: str) -> None:
        await asyncio.to_thread(self.stack.kill, name)
        await asyncio.sleep(self.rng.uniform(0.1, 1.0))
        await asyncio.to_thread(self.stack.start)

    async def kill_workers(self, *names: str) -> None:
        for name in names:
            self.workers[name].kill()
        await asyncio.sleep(self.rng.uniform(0.0, 1.0))
        for name in names:
            self.workers[name].start()

    async def misbehave(self, *faults: Fault) -> None:
        asked = [self.simulator.fault(fault) for fault in faults]

        async def fired() -> bool:
            now = asyncio.get_running_loop().time()
            for n, active in enumerate(asked):
                # A drop is at once and once, and others end: nobody was connected then.
                if not active.fired and (active.fault.kind == "drop" or active.over(now)):
                    asked[n] = self.simulator.fault(active.fault)
            return all(active.fired for active in asked)

        await eventually(fired, f"not run: {[active.fault.kind for active in asked]} fired", PATIENCE_S)
        await eventually(lambda: _over(asked), "the exchange behaves again", PATIENCE_S)

    async def accounted(self) -> None:
        """Until every id that was given out by now is in the tables, and no gap is open."""
        now_ms = self.desk.now_ms()
        last = {tape.listing.canonical: id_at(tape, now_ms) for tape in self.desk.tapes.values()}

        try:
            await eventually(
                lambda: whole(self.stack, last, self.since), "every id is stored once and no gap is open", PATIENCE_S
            )
        except AssertionError as error:
            its = {symbol: await stored_account(self.stack, symbol, self.since[symbol]) for symbol in last}
            told = {s: a and (a.first, a.last, a.unaccounted, a.named, a.gaps) for s, a in its.items()}
            raise AssertionError(f"wanted {last}: {told}") from error
        self.since = dict.fromkeys(last, now_ms * 1000)

    async def a_candle_closed(self) -> bool:
        """Whether a minute is over and in the tables: rounds can be shorter than one."""
        try:
            return bool(await query(self.stack.questdb_pg, "SELECT 1 FROM candles LIMIT 1"))
        except (QuestdbUnreachable, QuestdbRefused):
            return False

    async def amid_a_minute(self) -> bool:
        """Whether the last minute has closed: one that is just over does only by what the exchange tells next."""
        return 10 <= self.desk.now_ms() // 1000 % 60 < 50

    async def ready(self) -> bool:
        """Whether the signals run: a kernel that was changed is compiled first, once."""
        with redis.Redis.from_url(self.stack.redis_url) as cache:
            return b'"state":"running"' in (cache.hget(KEY_HEALTH, "signal") or b"")

    async def marked(self) -> bool:
        """Whether every symbol has a mark: a producer killed before leaves nothing to continue."""
        found = await marks(self.stack, "binance", self.since)
        return found is not None and all(mark["id"] > 0 for mark in found)


async def _over(asked: list[Active]) -> bool:
    return all(active.over(asyncio.get_running_loop().time()) or active.fault.count == 0 for active in asked)


def _fault(kind: str, **more: object) -> Fault:
    return Fault(kind=kind, exchange="binance", **more)  # type: ignore[arg-type]  # a kind, as text


ACTS: dict[str, Callable[[World], Awaitable[None]]] = {
    "NATS killed": lambda world: world.kill_server("nats"),
    "QuestDB killed": lambda world: world.kill_server("questdb"),
    "Redis killed": lambda world: world.kill_server("redis"),
    "consumer killed": lambda world: world.kill_workers("consumer"),
    "signals killed": lambda world: world.kill_workers("signals"),
    "one producer killed": lambda world: world.kill_workers("one producer"),
    "both producers killed": lambda world: world.kill_workers("one producer", "other producer"),
    "sockets dropped": lambda world: world.misbehave(_fault("drop")),
    "a storm of disconnects": lambda world: world.misbehave(_fault("refuse", count=2), _fault("drop")),
    "ids left out": lambda world: world.misbehave(_fault("skip", count=30)),
    "sockets mute": lambda world: world.misbehave(_fault("mute", seconds=1.5)),
    "a storm of 429": lambda world: world.misbehave(
        _fault("rest_429", count=2, retry_after=1), _fault("skip", count=10)
    ),
}


def _dealt(seed: int) -> list[str]:
    """What a round does: dealt from shuffled decks of all acts, so that a few rounds leave none out."""
    first = seed * FAULTS_A_ROUND
    dealt = [random.Random(deck).sample(list(ACTS), len(ACTS)) for deck in range(first // len(ACTS) + 2)]
    return [act for deck in dealt for act in deck][first : first + FAULTS_A_ROUND]


@asynccontextmanager
async def world(data_dir: Path) -> AsyncIterator[World]:
    with started(data_dir) as stack:
        await provision(stack.settings, lambda _line: None)
        async with serve(Market(11, 2, 100.0)) as (simulator, port):
            symbols = [tape.listing.canonical for tape in simulator.hubs["binance"].desk.tapes.values()]
            with _processes(stack, f"127.0.0.1:{port}/binance", symbols) as running:
                it = World(stack, simulator, running, random.Random())
                await eventually(it.ready, "kernels are compiled and signals run", READY_S_MAX)
                await eventually(it.marked, "the first marks are stored", PATIENCE_S)
                yield it


@contextmanager
def _processes(stack: Stack, at: str, symbols: list[str]) -> Iterator[list[Command]]:
    prefix = "FLOWTAPE_EXCHANGES_BINANCE_"
    variables = {
        f"{prefix}WS_URL": f"ws://{at}", f"{prefix}REST_URL": f"http://{at}", f"{prefix}CHANNELS": "trades",
        f"{prefix}SYMBOLS": ",".join(symbols),
    }  # fmt: skip
    makers = [("produce", "binance")] * 2
    with commands(stack, ("consume",), ("signal",), *makers, **variables) as running:
        yield running


@pytest.mark.chaos
async def test_rounds_of_faults_in_any_order_leave_no_id_unaccounted_and_count_each_once(tmp_path: Path) -> None:
    assert ROUNDS > 0, "not run: no rounds"
    async with world(tmp_path / "data") as it:
        for seed in range(ROUNDS):
            it.rng = random.Random(seed)
            acts = _dealt(seed)
            try:
                for act in acts:
                    await ACTS[act](it)
                    await asyncio.sleep(it.rng.uniform(0.0, 0.5))
                await it.accounted()
            except AssertionError as error:
                for name, worker in it.workers.items():
                    print(f"{name}:\n{worker.output()[-4000:]}")
                raise AssertionError(f"seed {seed}: {', '.join(acts)}: {error}") from error
            print(f"round {seed}: {', '.join(acts)}", flush=True)
        await eventually(it.a_candle_closed, "a candle is closed", PATIENCE_S)
        await eventually(it.amid_a_minute, "the exchange's minute is under way", PATIENCE_S)
        for name in ("one producer", "other producer"):
            assert it.workers[name].stop() == 0
        await settled(it.stack, seconds=PATIENCE_S)

        async def corrected() -> bool:
            wrong[:] = await differences(it.stack)
            return not wrong

        wrong: list[str] = []
        try:
            await eventually(corrected, "candles, footprints, CVD and profiles are those of the trades", PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{len(wrong)} differences: {wrong[:10]}") from error
