"""The REST history of the simulated OKX and Bybit is the market their sockets show."""

from __future__ import annotations

import pytest

from simulator._candles import candle, floor, id_at
from tests.simulating import START_MS, running

MINUTE_MS = 60_000


async def test_okx_trades_go_back_by_id_without_a_hole_and_by_time():
    async with running(rate=600.0) as bench:
        path = "/api/v5/market/history-trades?instId=BTC-USDT-SWAP&type="
        tape = bench.simulator.hubs["okx_futures"].desk.tapes["BTC-USDT-SWAP"]
        rows = (await bench.rows(f"{path}1&limit=100", "okx_futures"))["data"]
        for _ in range(3):
            rows += (await bench.rows(f"{path}1&limit=100&after={rows[-1]['tradeId']}", "okx_futures"))["data"]
        ids = [int(row["tradeId"]) for row in rows]
        assert ids == list(range(id_at(tape, START_MS), id_at(tape, START_MS) - 400, -1))
        by_time = (await bench.rows(f"{path}2&after={rows[50]['ts']}", "okx_futures"))["data"]
        assert int(by_time[0]["ts"]) < int(rows[50]["ts"])
        recent = (await bench.rows("/api/v5/market/trades?instId=BTC-USDT-SWAP&limit=400", "okx_futures"))["data"]
        assert recent == rows


@pytest.mark.parametrize(("exchange", "native"), [("okx", "BTC-USDT"), ("okx_futures", "XRP-USD-SWAP")])
async def test_okx_candles_come_newest_first_page_by_page_the_last_one_forming(exchange, native):
    async with running() as bench:
        path = f"/api/v5/market/candles?instId={native}&bar=1H&limit=5"
        first = (await bench.rows(path, exchange))["data"]
        second = (await bench.rows(f"{path}&after={first[-1][0]}", exchange))["data"]
        opens = [int(row[0]) for row in first + second]
        assert opens == [floor("1h", START_MS) - place * 60 * MINUTE_MS for place in range(10)]
        assert [row[8] for row in first + second] == ["0"] + ["1"] * 9
        tape = bench.simulator.hubs[exchange].desk.tapes[native]
        made = candle(tape, opens[3], opens[2], START_MS)
        assert float(first[3][4]) == pytest.approx(made.close * tape.listing.tick_size)
        days = (await bench.rows(f"/api/v5/market/candles?instId={native}&bar=1Dutc&limit=2", exchange))["data"]
        assert int(days[0][0]) % 86_400_000 == 0


async def test_okx_tells_funding_open_interest_books_and_errors():
    async with running() as bench:
        (rate,) = (await bench.rows("/api/v5/public/funding-rate?instId=BTC-USDT-SWAP", "okx_futures"))["data"]
        history = "/api/v5/public/funding-rate-history?instId=BTC-USDT-SWAP&limit=3"
        settled = (await bench.rows(history, "okx_futures"))["data"]
        assert settled[0]["fundingTime"] == rate["prevFundingTime"]
        older = (await bench.rows(f"{history}&after={settled[-1]['fundingTime']}", "okx_futures"))["data"]
        assert int(older[0]["fundingTime"]) < int(settled[-1]["fundingTime"])
        interest = (await bench.rows("/api/v5/public/open-interest?instType=SWAP", "okx_futures"))["data"]
        assert len(interest) == 5
        series = "/api/v5/rubik/stat/contracts/open-interest-history?instId=BTC-USDT-SWAP&period=1H&limit=4"
        assert len((await bench.rows(series, "okx_futures"))["data"]) == 4
        (book,) = (await bench.rows("/api/v5/market/books?instId=BTC-USDT-SWAP&sz=5", "okx_futures"))["data"]
        assert len(book["bids"]) == len(book["asks"]) == 5
        status, body, _ = await bench.get("/api/v5/market/books?instId=NOPE-USDT-SWAP", "okx_futures")
        assert (status, body["code"]) == (200, "51001")


async def test_bybit_recent_trades_reach_back_so_far_and_no_further():
    async with running(rate=600.0) as bench:
        path = "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1000"
        rows = (await bench.rows(path, "bybit_futures"))["result"]["list"]
        tape = bench.simulator.hubs["bybit_futures"].desk.tapes["BTCUSDT"]
        last = id_at(tape, START_MS)
        assert [int(row["execId"][-12:], 16) for row in rows] == list(range(last, last - 1_000, -1))
        spot = "/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=1000"
        assert len((await bench.rows(spot, "bybit"))["result"]["list"]) == 60


async def test_bybit_candles_funding_and_open_interest_are_the_markets():
    async with running() as bench:
        path = f"/v5/market/kline?category=linear&symbol=BTCUSDT&interval=60&limit=5&end={START_MS - 3_600_000}"
        rows = (await bench.rows(path, "bybit_futures"))["result"]["list"]
        opens = [int(row[0]) for row in rows]
        assert opens == [floor("1h", START_MS - 3_600_000) - place * 60 * MINUTE_MS for place in range(5)]
        tape = bench.simulator.hubs["bybit_futures"].desk.tapes["BTCUSDT"]
        made = candle(tape, opens[0], opens[0] + 60 * MINUTE_MS, START_MS)
        assert float(rows[0][5]) == pytest.approx(made.volume * tape.listing.step_size)
        ticker = "/v5/market/tickers?category=linear&symbol=BTCUSDT"
        (now,) = (await bench.rows(ticker, "bybit_futures"))["result"]["list"]
        assert float(now["openInterest"]) == pytest.approx(2 * float(now["singleOpenInterest"]))
        history = "/v5/market/funding/history?category=linear&symbol=BTCUSDT&limit=3"
        settled = (await bench.rows(history, "bybit_futures"))["result"]["list"]
        period_ms = int(now["fundingIntervalHour"]) * 3_600_000
        assert int(settled[0]["fundingRateTimestamp"]) == int(now["nextFundingTime"]) - period_ms
        interest = "/v5/market/open-interest?category=linear&symbol=BTCUSDT&intervalTime=1h&limit=3"
        answer = (await bench.rows(interest, "bybit_futures"))["result"]
        more = (await bench.rows(f"{interest}&cursor={answer['nextPageCursor']}", "bybit_futures"))["result"]
        times = [int(row["timestamp"]) for row in answer["list"] + more["list"]]
        assert times == [floor("1h", START_MS) - place * 3_600_000 for place in range(6)]


async def test_bybit_lists_a_category_page_by_page_and_refuses_what_does_not_exist():
    async with running() as bench:
        path = "/v5/market/instruments-info?category=linear&limit=3"
        first = (await bench.rows(path, "bybit_futures"))["result"]
        rest = (await bench.rows(f"{path}&cursor={first['nextPageCursor']}", "bybit_futures"))["result"]
        found = [row["symbol"] for row in first["list"] + rest["list"]]
        assert len(found) == len(set(found)) == 4
        inverse = "/v5/market/instruments-info?category=inverse"
        assert [row["symbol"] for row in (await bench.rows(inverse, "bybit_futures"))["result"]["list"]] == ["XRPUSD"]
        for wrong in ("category=linear&symbol=NOPE", "category=spot&symbol=BTCUSDT"):
            status, body, _ = await bench.get(f"/v5/market/kline?{wrong}&interval=1", "bybit_futures")
            assert (status, body["retCode"]) == (200, 10001)
        bare = "/v5/market/funding/history?category=linear&symbol=BTCUSDT&startTime=1"
        assert (await bench.rows(bare, "bybit_futures"))["retCode"] == 10001
