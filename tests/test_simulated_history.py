"""REST history of every exchange against its simulator: what is read is what the market was."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from producers._exchange import Options, Setup, directory, every, load
from producers._feeds import Feeds
from producers._registry import fetch
from producers._rest import RestClient
from schemas import time
from schemas.events import Kline, Trade, identity
from simulator import _derivatives as derivatives
from simulator._candles import aggregate_at, candle, id_at
from simulator._truth import truth
from tests.simulating import START_MS, running

MINUTE_MS = 60_000
LATEST_ONLY = {"bybit", "bybit_futures", "hyperliquid"}
"""These serve their last trades and have no pages."""


class Reader:
    """An exchange's declaration over REST to a market whose clock stands still."""

    def __init__(self, bench, exchange, folder):
        self.declared, self.bench = load(exchange), bench
        self.desk = bench.simulator.hubs[exchange].desk
        known = directory(self.declared, exchange)
        options = Options(open_interest_every=time.MINUTE)
        self.setup = Setup(exchange, Feeds(known), options)
        self.rest = RestClient(
            self.declared.rest, f"http://127.0.0.1:{bench.port}/{exchange}", folder, clock=bench.clock, sleep=self._wait
        )

    async def _wait(self, seconds):
        self.bench.clock.ms += int(seconds * 1_000) + 1  # a spent budget is a fresh one after its window
        await asyncio.sleep(0)

    async def start(self):
        self.setup.feeds.directory.learn(await fetch(self.declared, self.setup.exchange, self.rest))
        return [(self.setup.feeds.directory.native(tape.listing.canonical), tape) for tape in self.desk.tapes.values()]

    async def page(self, page, request):
        return page.parse(await self.rest.get(request), request, self.bench.clock(), self.setup)

    async def past(self, word, native, interval, start, end):
        """All pages of a range."""
        past, events, at = self.declared.channels[word].past, [], start
        while at < end:
            request = past.request(native, interval, at, end, self.setup)
            events += await self.page(past, request)
            at = request.end
        return events


@asynccontextmanager
async def reading(exchange, folder):
    async with running(symbols=3) as bench:
        it = Reader(bench, exchange, folder)
        try:
            yield it
        finally:
            await it.rest.close()


@pytest.mark.parametrize("exchange", sorted(every()))
async def test_trades_of_a_range_of_time_are_read_page_by_page_and_are_all(exchange, tmp_path):
    async with reading(exchange, tmp_path) as it:
        (native, tape), *_ = await it.start()
        recent, pages = it.declared.recent, []
        start, end = (START_MS - MINUTE_MS) * 1_000, START_MS * 1_000
        request = recent.request(native, start, end)
        while request is not None and len(pages) < 50:
            page = await it.page(recent, request)
            pages.append(page)
            request = page.following
        covered = sorted((page.start, page.end) for page in pages if page.start < page.end)
        assert all(one[1] == other[0] for one, other in pairwise(covered)), "pages follow each other"
        assert covered[-1][1] == end
        if exchange in LATEST_ONLY:
            assert start < covered[0][0], "they do not reach so far"
        else:
            assert covered[0][0] == start
            assert len(pages) > 1
        rows = [row for page in pages for row in page.rows]
        told = {identity(e): (row.number, e) for row in rows for e in row.events if isinstance(e, Trade)}
        whole = [event for _, event in told.values() if event.timestamp >= covered[0][0]]
        assert all(start <= event.timestamp < end for event in whole)
        at = id_at if it.desk.venue.unit == "fill" else aggregate_at
        assert len(whole) == at(tape, START_MS - 1) - at(tape, -(-covered[0][0] // 1_000) - 1)
        numbers = sorted(number for number, event in told.values() if event.timestamp >= covered[0][0])
        if numbers[0] >= 0:
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), "dense ids have no hole"
        else:
            assert it.declared.history is None
        if it.declared.history is not None:
            sums = await truth(it.desk, {"symbol": tape.listing.symbol, "from_id": numbers[0], "to_id": numbers[-1]})
            assert sum(event.quantity for event in whole) == pytest.approx(float(sums["quantity"]), rel=1e-9)
            assert sum(event.is_buyer_maker for event in whole) == sums["buyer_maker"]


@pytest.mark.parametrize("exchange", sorted(every()))
async def test_candles_of_history_are_those_of_the_market_and_closed(exchange, tmp_path):
    async with reading(exchange, tmp_path) as it:
        await it.start()
        for tape in it.desk.tapes.values():
            listing = tape.listing
            native = it.setup.feeds.directory.native(listing.canonical)
            for interval, count in (("1m", 320), ("1h", 5), ("1d", 2)):
                length = time.duration(interval)
                now = it.bench.clock()
                start = time.floor(now, length) - count * length
                told = await it.past("klines", native, interval, start, now)
                assert [k.timestamp for k in told] == list(range(start, start + count * length, length))
                for k in told:
                    assert isinstance(k, Kline)
                    assert (k.symbol, k.interval, k.source) == (listing.canonical, interval, "rest")
                    made = candle(tape, k.timestamp // 1_000, (k.timestamp + length) // 1_000, START_MS)
                    prices = [ticks * listing.tick_size for ticks in (made.open, made.high, made.low, made.close)]
                    assert [k.open, k.high, k.low, k.close] == pytest.approx(prices, rel=1e-12)
                    size = made.volume * listing.step_size
                    assert (k.value if listing.inverse else k.volume) == pytest.approx(size, rel=1e-6)
                    assert k.trades in (None, made.trades)
                    assert k.low <= k.value / (k.volume or 1.0) <= k.high


@pytest.mark.parametrize("exchange", [name for name, its in sorted(every().items()) if "funding" in its.channels])
async def test_settled_funding_is_what_the_market_charged(exchange, tmp_path):
    async with reading(exchange, tmp_path) as it:
        await it.start()
        for tape in it.desk.tapes.values():
            native = it.setup.feeds.directory.native(tape.listing.canonical)
            now, hours = it.bench.clock(), derivatives.funding_hours(tape)
            period = (1 if exchange == "deribit" else hours) * time.HOUR
            start = now // period * period - 9 * period
            told = await it.past("funding", native, "", start, now)
            assert [event.timestamp for event in told] == list(range(start, now, period))
            for event in told:
                at = event.timestamp // 1_000
                rate = derivatives.predicted_rate if exchange == "deribit" else derivatives.funding_rate
                assert event.funding_rate == pytest.approx(rate(tape, at), abs=1e-9)
                assert event.next_funding in (None, event.timestamp)


@pytest.mark.parametrize(
    "exchange", [n for n, its in sorted(every().items()) if (c := its.channels.get("open_interest")) and c.past]
)
async def test_open_interest_of_history_is_that_of_the_market_in_base_units(exchange, tmp_path):
    async with reading(exchange, tmp_path) as it:
        await it.start()
        for tape in it.desk.tapes.values():
            listing = tape.listing
            native = it.setup.feeds.directory.native(listing.canonical)
            now = it.bench.clock()
            start = now // (5 * time.MINUTE) * 5 * time.MINUTE - 20 * time.HOUR
            told = await it.past("open_interest", native, "", start, now)
            if exchange == "bybit_futures" and listing.inverse:
                assert told == []
                continue
            assert [event.timestamp for event in told] == list(range(start, now, 5 * time.MINUTE))
            for event in told[:20]:
                at = event.timestamp // 1_000
                size = derivatives.open_interest(tape, at) * listing.step_size
                if listing.inverse:
                    size /= derivatives.mark_price(tape, at)
                assert event.open_interest == pytest.approx(size, rel=1e-4)
