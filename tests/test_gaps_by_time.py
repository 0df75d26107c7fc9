"""Exchanges whose ids say nothing: what trades while nobody listens is asked for by time, and counted at the market."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from producers import _reading as reading
from producers._exchange import Page, Request, Row
from producers._feeds import Feed, Mark
from schemas.events import Gap
from schemas.instruments import Instrument
from simulator._truth import truth
from tests.accounting import gaps_of, newest, trades_of
from tests.filling import PATIENCE_S, Scene, scenes
from tests.producing import NOW, trade, until

EXCHANGES = ("bybit", "bybit_futures", "hyperliquid", "bitget", "bitget_futures")
LATEST_ONLY = ("bybit", "hyperliquid")
"""They serve no more than their last few dozen trades: on a slow machine a gap may have left their reach."""
OUT_OF_REACH = ("does not serve trades of these times", "the exchange's history still changes")
"""What the gap then says: it was gone at once, or between one reading and the next."""


def _feed() -> Feed:
    return Feed("trades", "BTCUSDT", Instrument("bybit", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "USDT", "spot"))


def _holes(feed: Feed) -> list[tuple[int, int, str]]:
    return [(hole.before - NOW, hole.after - NOW, hole.cause) for hole in feed.holes]


def test_what_comes_after_an_interruption_opens_a_hole_since_the_last_trade() -> None:
    feed = _feed()
    feed.interrupt("disconnect")
    for at in (5, 7, 7, 9):
        feed.follow(NOW + at, NOW)
    assert not _holes(feed), "nothing was known before, and nothing interrupted since"
    feed.interrupt("disconnect")
    feed.interrupt("restart")
    for at in (9, 12, 15):
        feed.follow(NOW + at, NOW)
    assert _holes(feed) == [(9, 12, "disconnect")]
    assert feed.mark() == Mark(-1, NOW + 9, 0)
    feed.holes.clear()
    assert feed.mark() == Mark(-1, NOW + 15, 0)


def test_a_replay_that_reaches_back_before_the_last_trade_proves_that_none_is_missing() -> None:
    feed = _feed()
    feed.follow(NOW + 9, NOW)
    feed.interrupt("disconnect")
    for at in (8, 9, 12):
        feed.follow(NOW + at, NOW)
    assert not _holes(feed)


def test_an_earlier_life_without_ids_is_continued_before_and_after_the_first_trade() -> None:
    before, after = _feed(), _feed()
    before.resume(Mark(-1, NOW + 9, 0), NOW)
    for feed in (before, after):
        feed.follow(NOW + 12, NOW)
        feed.follow(NOW + 13, NOW)
    after.resume(Mark(-1, NOW + 9, 0), NOW)
    assert _holes(before) == _holes(after) == [(9, 12, "restart")]


def _rows(*times: int) -> list[Row]:
    return [Row(-1, NOW + at, [trade(at)]) for at in times]


async def _read(*pages: Page) -> reading.Span:
    left = list(pages)

    async def ask(_: Request) -> Page:
        return left.pop(0)

    return await reading.read(ask, Request(""))


async def test_pages_from_either_side_prove_one_range_and_what_is_beside_it() -> None:
    more = Request("")
    whole = reading.reach(NOW, NOW + 99)
    forwards = await _read(Page(_rows(3), NOW, NOW + 40, more), Page(_rows(50), NOW + 40, NOW + 100))
    backwards = await _read(Page(_rows(50), NOW + 40, NOW + 100, more), Page(_rows(3), NOW + 20, NOW + 40))
    assert reading.same(forwards, backwards)
    assert reading.beside(whole, forwards) == []
    assert reading.beside(whole, backwards) == [reading.reach(NOW, NOW + 19)]
    assert reading.between(forwards.rows, NOW + 3, NOW + 60) == 1
    assert not reading.same(forwards, forwards._replace(rows=_rows(3)))
    with pytest.raises(ValueError, match="beside one"):
        await _read(Page(_rows(3), NOW, NOW + 40, more), Page(_rows(50), NOW + 41, NOW + 100))


async def _differences(it: Scene) -> list[Any]:
    """What is not as the market made it: open gaps, and symbols whose number of trades differs."""
    wrong: list[Any] = []
    for symbol in it.symbols:
        gaps = newest(await gaps_of(it.nats, it.exchange, symbol))
        if it.exchange in LATEST_ONLY and any(reason in gap.evidence for gap in gaps for reason in OUT_OF_REACH):
            continue
        wrong += [gap for gap in gaps if gap.status != "filled"]
        trades = {t.trade_id: t for t in await trades_of(it.nats, it.exchange, symbol)}
        times = sorted(t.timestamp for t in trades.values())
        first, last = times[0] // 1000 + 1, times[-1] // 1000 - 1
        sums = await truth(it.desk, {"symbol": symbol, "from": str(first), "to": str(last)})
        count = sum(first <= at // 1000 <= last for at in times)
        if count != sums["count"]:
            wrong.append((symbol, count, sums["count"], gaps))
    return wrong


async def _whole(it: Scene) -> list[Gap]:
    """Until everything the market traded between the first and the last trade is stored; the gaps there were."""
    for _ in range(int(PATIENCE_S / 0.5)):
        if not (wrong := await _differences(it)):
            return [g for symbol in it.symbols for g in newest(await gaps_of(it.nats, it.exchange, symbol))]
        await asyncio.sleep(0.5)
    raise AssertionError(f"{it.exchange}: {wrong}; {it.health}")


async def test_what_trades_while_sockets_are_broken_and_across_a_restart_is_filled_by_time(tmp_path: Path) -> None:
    async def act(it: Scene) -> None:
        async with it.producing():
            before = it.health["reconnects"]
            assert it.fault("drop").fired, "not run: nothing was dropped"
            await until(lambda: it.health["reconnects"] > before and it.health["connected"], PATIENCE_S)
            await it.traded(5)
            await _whole(it)
        await it.traded(5)
        async with it.producing():
            await it.traded(5)
            gaps = await _whole(it)
        causes = {gap.cause for gap in gaps}
        assert all(gap.from_id is None and gap.expected is None for gap in gaps)
        # What Hyperliquid and Bitget replay to a subscription may reach back far enough.
        assert causes == {"disconnect", "restart"} or it.exchange not in ("bybit", "bybit_futures"), causes

    async with scenes(EXCHANGES, tmp_path, rate=10.0) as found, asyncio.TaskGroup() as tasks:
        for it in found:
            tasks.create_task(act(it))


async def test_what_an_exchange_no_longer_serves_is_named_with_its_times(tmp_path: Path) -> None:
    async with scenes(("bybit",), tmp_path, symbols=1, rate=60.0) as (it,):
        async with it.producing():
            pass
        await it.traded(150)  # the last sixty are all it serves
        async with it.producing():
            await until(lambda: it.gaps.get("partial", 0) + it.gaps.get("unfillable", 0), PATIENCE_S)
            (gap,) = newest(await gaps_of(it.nats, it.exchange, it.symbols[0]))
    assert gap.cause == "restart"
    assert "unknown: the exchange does not serve trades of these times" in gap.evidence
    assert gap.evidence.startswith(reading.text([reading.reach(gap.from_timestamp, gap.from_timestamp)])[:20])
