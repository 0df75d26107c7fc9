"""The examples, run as a reader would run them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest
import redis.asyncio as aioredis

from examples.backtest import trade_over
from examples.paper_bot import run
from examples.strategy import Account, StackedImbalances
from flowtape import bus
from flowtape.client import AsyncClient
from schemas import instruments
from schemas.candles import FootprintCandle
from schemas.events import Clock, Event, Trade
from schemas.instruments import Instrument
from schemas.names import BUCKET_INSTRUMENTS, event_subject, payload
from schemas.settings import load
from schemas.time import DAY, SECOND
from signals import _run as signals_run
from tests.conftest import Stack, own_migrated
from tests.harness import environment, eventually
from tests.webbing import EXCHANGE, MINUTES, START, SYMBOL, story, tell

WHO = ("sim_deribit", "BOT-USD")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


def trade(number: int, at: int, price: float, quantity: float, *, sold: bool) -> Trade:
    return Trade(*WHO, at, time.time_ns() // 1000, str(number), price, quantity, price * quantity, sold)


def stacked(start: int) -> list[Event]:
    """Ten seconds of buyers ten times as hard as the sellers one row below, and the clock that ends them."""
    made: list[Event] = []
    for row in range(6):
        at, price = start + row * SECOND, 100 + row * 0.01
        made += [trade(2 * row, at, price, 1.0, sold=True), trade(2 * row + 1, at, price, 10.0, sold=False)]
    return [*made, Clock(WHO[0], start + 12 * SECOND, time.time_ns() // 1000)]


async def test_the_paper_bot_buys_a_stack_that_closed_and_is_filled_by_the_trades_after_it(nats, migrated, tmp_path):
    own = load("", {})
    own.data_dir = str(tmp_path)
    own.nats, own.questdb, own.redis = migrated.settings.nats, migrated.settings.questdb, migrated.settings.redis
    bucket = await nats.jetstream().key_value(BUCKET_INSTRUMENTS)
    entry = Instrument(*WHO, "BOT", "BOT", "USD", "USD", "spot", False, 1.0, 0.01, 0.001, valid_from=1)
    await bucket.put(".".join(WHO), instruments.encode(entry))
    cache, login = aioredis.Redis.from_url(own.redis.url), await bus.connect(own, "signal")
    stop, strategy = asyncio.Event(), StackedImbalances(Account(), size=2.0)
    engine = asyncio.create_task(signals_run.signal(["footprint"], own, login, cache, stop, {}))
    start = (time.time_ns() // 1000 // (10 * SECOND) - 3) * 10 * SECOND

    async def publish(events: list[Event]) -> None:
        for event in events:
            await nats.jetstream().publish(event_subject(event), payload([event]))

    async with AsyncClient(settings=own) as flow:
        bot = asyncio.create_task(run(flow, *WHO, "10s", strategy))
        await publish([trade(99, start - 15 * SECOND, 100.0, 1.0, sold=False)])
        await eventually(lambda: flow.is_live(*WHO), "the feed is live")  # and the bot listens
        await publish(stacked(start))

        async def ordered() -> bool:
            assert not bot.done(), bot.exception()
            return strategy.account.wanted == 2.0

        await eventually(ordered, "the bot has seen the stack")
        await publish([trade(100 + n, start + 15 * SECOND + n, 100.05, 0.75, sold=True) for n in range(4)])

        async def filled() -> bool:
            return strategy.account.position == pytest.approx(2.0)

        await eventually(filled, "the order is filled")
        bot.cancel()
        await asyncio.gather(bot, return_exceptions=True)
    stop.set()
    await engine
    await login.close()
    await cache.aclose()
    account = strategy.account
    assert [fill.quantity for fill in account.fills] == pytest.approx([0.75, 0.75, 0.5])
    assert account.profit == pytest.approx(-2.0 * 100.05 * account.fee_rate)


def test_an_account_turns_its_position_over_trades_and_counts_fees() -> None:
    account = Account(fee_rate=0.001, wanted=1.0)
    account.on_trade(trade(1, 1, 100.0, 5.0, sold=False))
    account.wanted = -1.0
    account.on_trade(trade(2, 2, 110.0, 1.5, sold=False))
    account.on_trade(trade(3, 3, 110.0, 1.5, sold=False))
    assert account.position == -1.0
    assert account.profit == pytest.approx(10.0 - 0.1 - 0.22)


def test_a_candle_with_holes_or_a_revision_decides_nothing() -> None:
    strategy = StackedImbalances(Account())
    for changes in ({"revision": 1}, {"complete": False}):
        strategy.on_candle(candle(stacks=[{"side": "buy", "low": 1.0, "high": 3.0, "count": 3}], **changes))
        assert strategy.account.wanted == 0.0
    strategy.on_candle(candle(stacks=[{"side": "sell", "low": 1.0, "high": 3.0, "count": 3}]))
    assert strategy.account.wanted == -0.01
    for _ in range(5):
        strategy.on_candle(candle(stacks=[]))
    assert strategy.account.wanted == 0.0


def candle(**changes) -> FootprintCandle:
    numbers = dict.fromkeys(
        ("tick", "row", "open", "high", "low", "close", "buy", "sell", "delta", "min_delta", "max_delta", "cvd", "poc",
         "vah", "val"), 1.0,
    )  # fmt: skip
    rest = {"exchange": "x", "symbol": "A-B", "interval": "1m", "timestamp": 0, "revision": 0, "closed": True,
            "complete": True, "trades": 1, "prices": [1.0], "buys": [1.0], "sells": [1.0], "imbalances": [],
            "unfinished": {"high": True, "low": True}, "sequence": 1, "as_of": 1}  # fmt: skip
    return msgspec.convert(numbers | rest | changes, FootprintCandle)


def test_the_backtest_replays_what_happened_and_trades_on_all_of_it(migrated: Stack, tmp_path) -> None:
    asyncio.run(tell(migrated, tmp_path / "story", START))
    ended = subprocess.run(
        [sys.executable, "-m", "examples.backtest", EXCHANGE, SYMBOL, "--from", str(START), "--to", str(START + DAY),
         "--stack", "1"],
        env=environment(migrated.settings), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    trades = sum(isinstance(event, Trade) for event in story(START))
    # the last minute closes by the exchange's clock, which only the log holds, not the tables
    assert any(f"{trades} trades, {closed} candles" in ended.stdout for closed in (MINUTES - 1, MINUTES)), ended.stdout


def test_the_strategy_sees_a_candle_only_when_it_could_be_known() -> None:
    strategy = StackedImbalances(Account(), size=1.0)
    made = candle(stacks=[{"side": "buy", "low": 1.0, "high": 3.0, "count": 3}])
    early, late = trade(1, 60 * SECOND, 100.0, 5.0, sold=False), trade(2, 61 * SECOND, 101.0, 5.0, sold=False)
    trade_over([late, early], [made], strategy)
    assert [(fill.timestamp, fill.price) for fill in strategy.account.fills] == [(61 * SECOND, 101.0)]


def test_the_plot_draws_a_picture(migrated: Stack, tmp_path) -> None:
    asyncio.run(tell(migrated, tmp_path / "story", START))
    out = tmp_path / "footprint.png"
    ended = subprocess.run(
        [sys.executable, "-m", "examples.plot", EXCHANGE, SYMBOL, "--last", "8", "--out", str(out)],
        env=environment(migrated.settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
