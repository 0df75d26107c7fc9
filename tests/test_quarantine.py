"""Bad frames by the thousand go through the connection loop and the outbox: nothing breaks, each is kept as it came."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from functools import cache
from importlib import import_module
from math import inf, isfinite
from pathlib import Path
from time import monotonic, time_ns

import pytest

from producers import _exchange
from producers._connection import Connection, Surroundings
from producers._exchange import Options, Setup, directory, every
from producers._feeds import Feeds
from producers._lanes import BYTES_MAX
from producers._outbox import Outbox
from producers._spool import Spool
from schemas import names, time
from schemas.symbols import is_symbol
from tests.fuzzing import Mutator

FRAMES = int(os.environ.get("SOAK_FRAMES", "10000"))
"""Mutated frames of each family."""
SEED = int(os.environ.get("FUZZ_SEED", "7"))
"""Of the first round of each exchange; the next ones count up. A round that fails names its own: begin there."""
ROUND = 5_000
FAMILIES = sorted(path.stem for path in Path(_exchange.__file__).parent.glob("[a-z]*.py"))
RECORDED = Path(__file__).resolve().parent / "frames"
ABOVE_ZERO = {
    "trade": ("price", "quantity", "value"), "liquidation": ("price", "quantity", "value"),
    "kline": ("open", "high", "low", "close"), "funding": ("mark_price", "index_price"),
}  # fmt: skip
AT_LEAST_ZERO = {"kline": ("volume", "value"), "open_interest": ("open_interest", "value")}


@cache
def frames(exchange) -> list[bytes]:
    """The exchange's good frames of every channel."""
    return [line for path in sorted((RECORDED / exchange).glob("*.jsonl"))
            if not path.stem.endswith(".expected") for line in path.read_bytes().splitlines()]  # fmt: skip


def now():
    return time_ns() // 1000


def is_sound(event) -> bool:
    """Whether all numbers of an event are finite and in their range."""
    kind = type(event).__struct_config__.tag
    if kind == "book":
        return all(0.0 < number < inf for level in (*event.bids, *event.asks) for number in level)
    above = [getattr(event, name) for name in ABOVE_ZERO.get(kind, ())]
    least = [getattr(event, name) for name in AT_LEAST_ZERO.get(kind, ())]
    return (
        all(number is None or 0.0 < number < inf for number in above)
        and all(number is None or 0.0 <= number < inf for number in least)
        and isfinite(getattr(event, "funding_rate", 0.0))
    )


class Fed:
    """A socket whose frames the test itself hands in."""

    def __init__(self) -> None:
        self.activity = 0
        self.ended = asyncio.get_running_loop().create_future()
        self.on_frame = None

    async def connect(self, _url, on_frame, _frame_bytes_max):
        self.on_frame = on_frame
        return self

    def send(self, text) -> None:
        """Subscriptions go nowhere."""

    def ping(self) -> None:
        """So do pings."""

    def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result("closed")


class Watch:
    """Hands on to the outbox, and remembers which frames were given up."""

    def __init__(self, outbox) -> None:
        self.outbox, self.frame, self.bad, self.events = outbox, b"", [], 0

    def add(self, event) -> None:
        self.events += 1
        assert is_symbol(event.symbol), self.frame
        assert time.EARLIEST <= event.timestamp <= now() + time.AHEAD_MAX, self.frame
        assert is_sound(event), (self.frame, event)
        self.outbox.add(event)

    def dead(self, kind, exchange, raw, reason, origin) -> None:
        assert raw == self.frame, "another frame is quarantined than the one at hand"
        assert not reason.startswith("parser bug"), (reason, raw)
        self.bad.append((names.dead_subject(kind, exchange), raw[:BYTES_MAX]))
        self.outbox.dead(kind, exchange, raw, reason, origin)


async def until(holds) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def letters(nats, count):
    """What the stream of dead letters holds, in its order; then it is empty again."""
    context = nats.jetstream()
    found = []
    subscription = await context.subscribe("md.dead.>", ordered_consumer=True)
    while len(found) < count:
        message = await subscription.next_msg(timeout=10)
        assert message.headers[names.HEADER_REASON]
        found.append((message.subject, message.data))
    await subscription.unsubscribe()
    assert (await context.stream_info(names.STREAM_DEAD)).state.messages == count
    for stream in names.STREAMS:
        await context.purge_stream(stream)
    return found


@contextlib.contextmanager
def told(seed, exchange, watch):
    """How to see a failure again, and the frame at which it came."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{seed}: {exchange}, frame {watch.frame[:2_000]!r}")
        raise


async def play(exchange, setup, watch, mutator, count) -> None:
    """One connection's life of ``count`` bad frames, with good ones in between."""
    fed, stop = Fed(), asyncio.Event()
    around = Surroundings(now, monotonic, asyncio.sleep, random.Random(1), fed.connect, stop)
    connection = Connection(exchange, setup, "wss://fed", {}, watch, around)
    running = asyncio.create_task(connection.run())
    await until(lambda: fed.on_frame or running.done())
    for number in range(count):
        if number % 10 == 0:
            watch.frame = mutator.good()
            fed.on_frame(watch.frame)
        watch.frame = mutator.frame()
        fed.on_frame(watch.frame)
        if number % 500 == 0:
            await asyncio.sleep(0)
            assert not running.done(), "the connection loop has ended"
    stop.set()
    await running


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
async def test_every_bad_frame_is_quarantined_byte_for_byte_and_nothing_else_happens(family, nats, tmp_path) -> None:
    outbox = Outbox(
        nats, Spool(tmp_path, "fuzz", 1 << 26), memory=1 << 28, clock=now, monotonic=monotonic,
        sleep=asyncio.sleep, window=1 << 15,
    )  # fmt: skip
    sending = asyncio.create_task(outbox.run())
    exchanges = import_module(f"producers.{family}").EXCHANGES
    foreign = [frame for exchange in every() for frame in frames(exchange)]
    bad = events = 0
    for exchange in exchanges:
        setup = Setup(exchange.id, Feeds(directory(exchange, exchange.id)), Options())
        counts = range(-(-FRAMES // len(exchanges)), 0, -ROUND)
        for seed, count in enumerate(counts, SEED):
            watch = Watch(outbox)
            with told(f"FUZZ_SEED={seed}", exchange.id, watch):
                await play(exchange, setup, watch, Mutator(frames(exchange.id), seed, foreign), min(count, ROUND))
                await until(lambda: outbox.idle)
                assert outbox.counts["dead_dropped"] == 0
                assert await letters(nats, len(watch.bad)) == watch.bad
            bad, events = bad + len(watch.bad), events + watch.events
    outbox.stop()
    await sending
    await outbox.close(1.0)
    assert bad > FRAMES / 10, "not run: hardly a frame was bad"
    assert events > FRAMES / 200, "not run: hardly a frame was good"
    print(f"{family}: {FRAMES} mutated frames from seed {SEED} on, {bad} quarantined, {events} events")
