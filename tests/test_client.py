"""The client of other programs, on real servers: what it reads equals what was published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from flowtape import async_client, bus
from flowtape.client import ApiError, AsyncClient, Client, FootprintCandle
from schemas.events import Kline, Trade
from schemas.names import event_subject, payload
from schemas.time import MINUTE, iso
from tests.conftest import Stack, own_migrated
from tests.webbing import EXCHANGE, MINUTES, START, SYMBOL, story, tell

END = START + MINUTES * MINUTE
WHO = (EXCHANGE, SYMBOL)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def told(migrated: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    asyncio.run(tell(migrated, tmp_path_factory.mktemp("story"), START))
    return migrated


def trades_told() -> list[Trade]:
    return [event for event in story(START) if isinstance(event, Trade)]


def test_trades_are_columns_equal_to_what_was_published_however_they_are_paged(told: Stack, monkeypatch) -> None:
    made = trades_told()
    with Client(settings=told.settings) as flow:
        whole = flow.trades(*WHO, from_=START, to=END)
        monkeypatch.setattr(async_client, "PAGE_ROWS", 50)
        paged = flow.trades(EXCHANGE, "BTC/USDT", from_=iso(START), to=END)
    assert whole.trade_id.tolist() == [trade.trade_id for trade in made] == paged.trade_id.tolist()
    assert whole.price.tolist() == [trade.price for trade in made] == paged.price.tolist()
    assert whole.is_buyer_maker.tolist() == [trade.is_buyer_maker for trade in made]
    assert whole.timestamp.dtype == np.int64
    frame = whole.to_polars()
    assert frame["quantity"].sum() == pytest.approx(sum(trade.quantity for trade in made))
    assert len(whole) == len(made) == frame.height


def test_a_span_without_rows_is_empty_columns_and_unknown_counts_are_nan(told: Stack) -> None:
    with Client(settings=told.settings) as flow:
        assert len(flow.trades(*WHO, from_=0, to=1)) == 0
        klines = flow.klines(*WHO, "1m", from_=START, to=END)
    assert klines.close.tolist() == [2.0]
    assert np.isnan(klines.trades).all()


def test_footprints_reach_beyond_redis_and_hold_every_trade(told: Stack, monkeypatch) -> None:
    monkeypatch.setattr(async_client, "PAGE_CANDLES", 90)
    with Client(settings=told.settings) as flow:
        candles = flow.footprint(*WHO, "1m", last=MINUTES, to=END)
        few = flow.footprint(*WHO, "1m", last=3, to=END)
    assert [candle.timestamp for candle in candles] == list(range(START, END, MINUTE))
    assert candles[-3:] == few
    assert sum(candle.trades for candle in candles) == len(trades_told())


def test_a_profile_is_arrays_and_equals_the_footprints_of_its_span(told: Stack) -> None:
    with Client(settings=told.settings) as flow:
        profile = flow.profile(*WHO, from_=START, to=END)
        candles = flow.footprint(*WHO, "1m", last=MINUTES, to=END)
    assert profile.buys.sum() == pytest.approx(sum(candle.buy for candle in candles))
    assert profile.sells.sum() == pytest.approx(sum(candle.sell for candle in candles))
    assert profile.prices[np.argmax(profile.buys + profile.sells)] == profile.poc


def test_live_values_are_those_of_redis_and_none_where_there_are_none(told: Stack) -> None:
    with Client(settings=told.settings) as flow:
        cvd = flow.cvd(*WHO)
        assert cvd is not None
        assert cvd["symbol"] == SYMBOL
        assert flow.signal("nobody_wrote_it", *WHO) is None
        assert not flow.is_live(*WHO), "hours old trades are not live"
        with pytest.raises(ApiError, match="known are"):
            flow.cvd("nowhere", SYMBOL)


def test_what_the_log_holds_is_read_to_its_end(told: Stack) -> None:
    with Client(settings=told.settings) as flow:
        trades = list(flow.subscribe(f"md.trade.{EXCHANGE}.{SYMBOL}", since=1, follow=False))
        nothing = list(flow.subscribe("md.trade.nobody.A-B", since=1, follow=False))
    assert [trade.trade_id for trade in trades] == [trade.trade_id for trade in trades_told()]
    assert nothing == []


def test_closed_candles_are_handed_over_until_enough(told: Stack) -> None:
    seen: list[FootprintCandle] = []

    def act(candle: FootprintCandle) -> bool:
        seen.append(candle)
        return len(seen) < 5

    with Client(settings=told.settings) as flow:
        flow.on_candle(act, *WHO, interval="1m", since=START)
    assert len(seen) == 5
    assert all(candle.closed and candle.interval == "1m" for candle in seen)


async def test_a_subscriber_gets_each_event_once_and_the_newer_revision(told: Stack) -> None:
    def trade(number: str) -> Trade:
        return Trade("sim_kraken", "A-B", 1, 1, number, 1.0, 1.0, 1.0, False)

    def kline(revision: int, close: float) -> Kline:
        return Kline("sim_kraken", "A-B", 60_000_000, 1, "1m", 1.0, 9.0, 1.0, close, 1.0, 1.0, None, "ws", revision)

    nats = await bus.connect(told.settings, "admin")
    async with AsyncClient(settings=told.settings) as flow:
        coming = flow.subscribe("md.*.sim_kraken.A-B.>"), flow.subscribe("md.trade.sim_kraken.A-B")
        firsts = [asyncio.ensure_future(anext(each)) for each in coming]
        await asyncio.sleep(0.5)  # both have asked the log where it ends
        for event in (trade("1"), trade("1"), trade("2"), kline(0, 2.0), kline(1, 3.0), kline(0, 2.0), kline(2, 4.0)):
            await nats.jetstream().publish(event_subject(event), payload([event]))
        await nats.jetstream().publish("md.trade.sim_kraken.A-B", b"not an event")
        await nats.jetstream().publish("md.trade.sim_kraken.A-B", payload([trade("3")]))
        klines = [await firsts[0]] + [await anext(coming[0]) for _ in range(2)]
        trades = [await firsts[1]] + [await anext(coming[1]) for _ in range(2)]
        for each in coming:
            await each.aclose()
    await nats.close()
    assert [event.trade_id for event in trades] == ["1", "2", "3"]
    assert [event.close for event in klines] == [2.0, 3.0, 4.0]
