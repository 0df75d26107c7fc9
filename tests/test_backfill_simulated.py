"""History at the start, and what sockets fail to bring: simulated exchanges, a real log, quick time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from producers._aggregate import aggregate
from schemas import time
from schemas.events import Funding, OpenInterest
from schemas.names import HEADER_EVENTS
from simulator import _derivatives as derivatives
from simulator._faults import Fault
from tests.backfilling import scene

PATH = "/api/v3/klines"


async def test_history_comes_newest_first_in_few_messages_and_no_page_twice_after_a_restart(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:
        it.settings = it.configured(intervals=("1m", "1h"), backfill="5d")
        async with it.working():
            await it.filled()
        first_life = it.pages(PATH)
        assert set(first_life.values()) == {1}
        minutes = await it.klines("1m")
        it.check(minutes, it.began - 5 * time.DAY, it.began)
        it.check(await it.klines("1h"), it.began - 5 * time.DAY, it.began)
        asked = [(int(start), int(end)) for _, interval, start, end, _ in first_life if interval == "1m"]
        starts = [start for start, end in asked if end - start > 600_000]  # not those after a candle that just closed
        assert len(starts) == 8
        assert starts == sorted(starts, reverse=True), "newest first"
        bulk = [m for m in await it.messages("klines") if m.subject.endswith(".1m") and HEADER_EVENTS in m.headers]
        assert sum(int(m.headers[HEADER_EVENTS]) for m in bulk) >= 5 * 1_440 - 1
        assert len(bulk) <= 2 * 8 + 2, "five hundred events a message"

        await it.passed(2)
        it.asked.clear()
        async with it.working():
            await it.filled()
        again = [int(start) for _, _, start, *_ in it.pages(PATH)]
        assert again, "not run: nothing closed between the two lives"
        assert min(again) >= it.began // 1_000 - 120_000, "what was there already was asked for again"
        it.check(await it.klines("1m"), it.began - 5 * time.DAY, it.clock() - 2 * time.MINUTE)


@pytest.mark.parametrize("kind", ["drop", "mute"])
async def test_rest_takes_over_from_a_dead_socket_within_a_poll_and_stops_when_it_is_back(
    kind: Literal["drop", "mute"], tmp_path: Path
) -> None:
    async with scene("binance", tmp_path) as it:
        async with it.working():
            await it.filled()
            await it.passed(1)
            lasting = it.simulator.fault(Fault(kind="refuse" if kind == "drop" else "mute", exchange="binance"))
            if kind == "drop":
                assert it.simulator.fault(Fault(kind="drop", exchange="binance")).fired, "not run: nothing was dropped"
            cut = it.clock()
            await it.passed(4)
            back = it.clock()
            it.simulator.faults.clear()
            assert lasting.fired, "not run: the socket was not kept away"
            await it.until(lambda: it.health["connected"], "the socket")
            await it.passed(1)
            it.asked.clear()
            await it.passed(1)
            assert not it.pages(PATH), "the socket is back, and REST is still asked"
        for interval in ("1m", "5m"):
            its = await it.klines(interval)
            it.check(its, it.began - 12 * time.HOUR, it.clock() - 2 * time.MINUTE)
            assert len({kline.timestamp for kline in its}) == len(its), "one row each: nothing was told twice"
        minutes = [kline for kline in await it.klines("1m") if cut <= kline.timestamp and kline.received < back]
        assert len(minutes) >= 2
        assert {kline.source for kline in minutes} == {"rest"}
        # Due at the next poll, ten seconds; a market that runs thirty times as fast leaves little time for the rest.
        assert all(kline.received - kline.timestamp < 2 * time.MINUTE for kline in minutes)
        assert (await it.klines("1m"))[-1].source == "ws"


async def test_a_correction_gets_the_next_revision_and_the_one_after_a_restart_the_next_but_one(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:

        async def told(timestamp: int) -> list[tuple[int, float]]:
            return [(kline.revision, kline.close) for kline in await it.klines("1m") if kline.timestamp == timestamp]

        async with it.working():
            await it.filled()
            await it.passed(2)
            last = (await it.klines("1m"))[-1]
            assert (last.source, last.revision) == ("ws", 0)
            it.corrected[last.timestamp // 1_000] = "70001.00"
            mute = it.simulator.fault(Fault(kind="mute", exchange="binance"))
            await it.passed(2)  # whoever asks for a candle that is missing asks for the one before, too
            assert mute.fired, "not run: the candle came by the socket"
            assert await told(last.timestamp) == [(0, last.close), (1, 70_001.0)]
        bucket = await it.nats.jetstream().key_value("cursors")
        await bucket.put(f"past.binance.{last.symbol}", b"{}")
        it.corrected[last.timestamp // 1_000] = "70002.00"
        async with it.working():
            await it.filled()
        assert (await told(last.timestamp))[-1] == (2, 70_002.0)


async def test_a_length_the_exchange_lacks_is_the_sum_of_shorter_ones_and_says_so(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:
        it.settings = it.configured(intervals=("1m", "10m", "2m"), backfill="6h")
        async with it.working():
            await it.filled()
            await it.passed(3)
        minutes = sorted(await it.klines("1m"), key=lambda kline: kline.timestamp)
        for interval, base in (("10m", "5m"), ("2m", "1m")):
            made = await it.klines(interval)
            it.check(made, it.began - 6 * time.HOUR, it.clock() - 2 * time.MINUTE)
            assert {kline.aggregated_from for kline in made} == {base}
            assert {kline.source for kline in made} == {"rest"}
            summed = {kline.timestamp: kline for kline in aggregate(minutes, interval)}
            for kline in made:
                own = summed[kline.timestamp]
                assert (kline.open, kline.high, kline.low, kline.close) == (own.open, own.high, own.low, own.close)
                assert kline.trades == own.trades
                assert abs(kline.volume - own.volume) < 1e-6 * own.volume
        assert not any(kline.aggregated_from for kline in minutes)


async def test_open_interest_and_settled_funding_reach_back_as_far_as_asked(tmp_path: Path) -> None:
    async with scene("binance_futures", tmp_path) as it:
        it.settings = it.configured(channels=("funding", "open_interest"), backfill="3d")
        async with it.working():
            await it.filled()
        (symbol, tape), *_ = it.tapes.items()
        interests = [e for e in await it.events("open_interest") if isinstance(e, OpenInterest)]
        known = {e.timestamp: e for e in reversed(interests)}  # the first of a slot wins
        assert len(interests) <= len(known) + 2, "only where history and the polls meet may a slot be told twice"
        first = time.floor(it.began - 3 * time.DAY, 5 * time.MINUTE) + 5 * time.MINUTE
        wanted = range(first, time.floor(it.began, 5 * time.MINUTE), 5 * time.MINUTE)
        assert [at for at in wanted if at not in known] == []
        for at in wanted:
            steps = derivatives.open_interest(tape, at // 1_000)
            assert abs(known[at].open_interest / (steps * tape.listing.step_size) - 1) < 1e-9
        rates = [e for e in await it.events("funding") if isinstance(e, Funding)]
        hours = derivatives.funding_hours(tape)
        settled = range(
            -(-(it.began - 3 * time.DAY) // (hours * time.HOUR)) * hours * time.HOUR, it.began, hours * time.HOUR
        )
        assert set(settled) <= {e.timestamp for e in rates}
        assert {e.symbol for e in (*rates, *interests)} == {symbol}


async def test_a_storm_of_refusals_delays_history_and_loses_none_of_it(tmp_path: Path) -> None:
    async with scene("binance", tmp_path) as it:
        it.settings = it.configured(intervals=("1m",), backfill="3d")
        storm = it.simulator.fault(Fault(kind="rest_500", exchange="binance", count=6))
        async with it.working():
            await it.filled()
        assert storm.fired == 6
        it.check(await it.klines("1m"), it.began - 3 * time.DAY, it.began)
