"""Sums over exchanges: exact on the coarsest row, members and stale ones named, made from what Redis holds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest
import redis.asyncio as aioredis

from schemas.candles import decode
from schemas.names import key
from signals._sum import SumWriter, coarsest, lots, summed
from signals.sums import SumsOverExchanges
from tests.conftest import Stack
from tests.series import MINUTE, T0, encoded, footprint, settings

WHO = ("all", "BTC-USD")
ONE, TWO, THREE = ("one", "BTC-USDT"), ("two", "BTC-USD"), ("three", "BTC-USDC")


def _one(at=T0, who=ONE, close=100.0, buys=(1.0, 2.0), sells=(0.5, 0.25), **other):
    return footprint(at, close, list(buys), list(sells), who=who, **other)


def _sum(*members, cvd=0):
    return decode(SumWriter().candle(WHO, members, cvd, {"members": ["a"], "stale": []}))


def test_a_sum_of_one_is_that_one() -> None:
    rng = random.Random(1)
    for _ in range(50):
        rows = [rng.randrange(0, 900) / 1000 for _ in range(rng.randrange(1, 30))]
        one = _one(close=101.25, buys=[*rows, 0.5], sells=[0.25, *rows], low=rng.randrange(90, 101) / 4, row=0.25)
        both = _sum(one, cvd=lots(one.cvd))
        for name in ("prices", "buys", "sells", "low", "high", "close", "trades", "timestamp", "complete", "row"):
            assert getattr(both, name) == pytest.approx(getattr(one, name)), name
        assert both.revision == one.revision


def test_volume_is_conserved_and_lies_in_the_row_that_holds_it() -> None:
    rng = random.Random(2)
    for _ in range(100):
        members = []
        for who, row in ((ONE, 0.5), (TWO, 0.1), (THREE, 0.25)):
            count = rng.randrange(1, 300)
            buys, sells = ([rng.randrange(0, 10**6) / 1e8 for _ in range(count)] for _ in "bs")
            members.append(_one(who=who, buys=buys, sells=sells, low=round(rng.randrange(900, 1100) * row, 2), row=row))
        grid = summed(members)
        for side in ("buy", "sell"):
            wanted: dict[int, int] = {}
            for one in members:
                rows = zip(one.prices, getattr(one, f"{side}s"), strict=True)
                for price, quantity in rows:
                    place = int(Decimal(repr(round(price, 6))) * 10**12) // grid.row
                    wanted[place] = wanted.get(place, 0) + round(quantity * 1e8)
            found = {grid.first + n: int(count) for n, count in enumerate(getattr(grid, side)) if count}
            assert found == {place: count for place, count in wanted.items() if count}
        assert len(grid.buy) <= 400


def test_coins_that_trade_by_the_million_million_add_up_in_whole_units() -> None:
    """9e10 in units of 1e-8 are all that 64 bits hold; Shiba Inu trades more in an hour."""
    members = [_one(who=who, buys=(3e13, 7e12), sells=(1e12, 5e13)) for who in (ONE, TWO)]
    both = _sum(*members, cvd=lots(-4e14))
    assert (both.buy, both.sell, both.cvd) == (2 * 3.7e13, 2 * 5.1e13, -4e14)
    assert (both.delta, sum(both.buys), sum(both.sells)) == (2 * (3.7e13 - 5.1e13), both.buy, both.sell)
    small = _sum(_one(), cvd=lots(-4e14))
    assert (small.buy, small.sell, small.cvd) == (3.0, 0.75, -4e14)


def test_the_row_is_the_coarsest_and_open_and_close_are_means_by_volume() -> None:
    assert coarsest([2, 5]) == 10
    assert coarsest([500, 1]) == 500
    assert coarsest([700, 900]) == 900
    quiet = _one(close=100.0, buys=[1.0], sells=[0.0])
    loud = _one(who=TWO, close=104.0, buys=[2.0], sells=[1.0], revision=2, complete=False)
    both = _sum(quiet, loud, cvd=lots(1.5))
    assert (both.close, both.low, both.high) == (103.0, 100.0, 104.0)
    assert (both.buy, both.sell, both.delta, both.cvd) == (3.0, 1.0, 2.0, 1.5)
    assert (both.revision, both.complete, both.trades) == (3, False, 4)


def test_point_of_control_and_imbalances_are_those_of_the_summed_rows() -> None:
    first = _one(buys=[0.0, 2.0, 0.0], sells=[1.0, 0.0, 0.0], low=100.0)
    second = _one(who=TWO, buys=[0.0, 3.0, 0.5], sells=[0.5, 0.0, 0.0], low=100.0)
    both = _sum(first, second)
    assert both.poc == 101.0
    assert [(one.price, one.side) for one in both.imbalances] == [(101.0, "buy")]


@pytest.fixture
async def cache(stack: Stack) -> AsyncIterator[aioredis.Redis]:
    client = aioredis.Redis.from_url(stack.redis_url)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


async def _store(cache, *closed) -> None:
    for one in closed:
        name = key("footprint", one.exchange, one.symbol, one.interval)
        await cache.zremrangebyscore(f"{name}:closed", one.timestamp, one.timestamp)
        await cache.zadd(f"{name}:closed", {encoded(one): one.timestamp})
        await cache.set(name, encoded(one))


def _written(signal) -> dict:
    found: dict = {}
    for who in sorted(signal.dirty):
        values, members = signal.render(who)
        found |= {one.key.decode(): msgspec.json.decode(one.text) for one in values}
        found |= {f"{one.key.decode()}@{one.score}": msgspec.json.decode(one.text) for one in members}
    signal.dirty.clear()
    return found


async def test_closed_candles_are_summed_once_redis_holds_what_the_log_told(cache) -> None:
    signal = SumsOverExchanges(settings('signals.intervals = ["1m"]'))
    first, second = _one(cvd=5.0), _one(who=TWO, close=101.0, cvd=7.0)
    await _store(cache, first)
    signal.take("footprint", first, 1)
    signal.take("footprint", second, 2)
    await signal.poll(cache)
    name = f"footprint:all:BTC-USD:1m:closed@{T0}"
    assert name not in _written(signal), "summed before Redis held what the log told"
    await _store(cache, second)
    await signal.poll(cache)
    found = _written(signal)[name]
    assert found["members"] == ["one:BTC-USDT", "two:BTC-USD"]
    assert (found["cvd"], found["stale"], found["revision"]) == (12.0, [], 1)
    again = _one(who=TWO, close=101.0, cvd=8.0, revision=1)
    signal.take("footprint", again, 3)
    await _store(cache, again)
    await signal.poll(cache)
    assert _written(signal)[name]["revision"] == 2
    later = _one(at=T0 + MINUTE, cvd=6.0)
    await _store(cache, later)
    signal.take("footprint", later, 4)
    await signal.poll(cache)
    found = _written(signal)[f"footprint:all:BTC-USD:1m:closed@{T0 + MINUTE}"]
    assert (found["members"], found["stale"], found["cvd"]) == (["one:BTC-USDT"], ["two:BTC-USD"], 14.0)


async def test_a_new_start_finds_members_and_closed_candles_in_redis_and_comes_to_the_same(cache) -> None:
    running = SumsOverExchanges(settings('signals.intervals = ["1m"]'))
    candles = [_one(at=T0 + n * MINUTE, who=who, close=100.0 + n) for n in range(5) for who in (ONE, TWO, THREE)]
    found: dict = {}
    for one in candles:
        await _store(cache, one)
        running.take("footprint", one, 1)
        await running.poll(cache)
        found |= _written(running)
    fresh = SumsOverExchanges(settings('signals.intervals = ["1m"]'))
    await fresh.poll(cache)
    assert _written(fresh) == found
    assert f"footprint:all:BTC-USD:1m:closed@{T0 + 4 * MINUTE}" in found


async def test_a_candle_redis_never_gets_is_given_up_and_counted(cache) -> None:
    signal = SumsOverExchanges(settings('signals.intervals = ["1m"]'))
    signal.take("footprint", _one(), 1)
    for _ in range(25):
        await signal.poll(cache)
    assert signal.counters() == {"closed_waiting": 0, "given_up": 1}


async def test_open_sums_cvd_and_profiles_come_from_the_members_keys(cache) -> None:
    signal = SumsOverExchanges(settings('signals.intervals = ["1m"]\nsignals.stable = ["USD", "USDT"]'))
    await _store(cache, _one(closed=False, as_of=T0), _one(who=TWO, closed=False, as_of=T0 + 30_000_000))
    await _store(cache, _one(who=THREE))
    for who, session in ((ONE, 1.5), (TWO, -0.5)):
        its = {"session": session, "since": T0, "total": 10.0, "total_since": T0 - 5, "intervals": {}}
        await cache.set(key("cvd", *who), msgspec.json.encode(its | {"sequence": 3, "as_of": T0}))
        rows = {"tick": 0.5, "row": 0.5, "prices": [99.5, 100.0], "buys": [1.0, 0.0], "sells": [0.5, 2.0]}
        rows |= {"from": T0, "to": T0 + 24 * 60 * MINUTE, "sequence": 4, "as_of": T0}
        await cache.set(key("profile", *who, "session"), msgspec.json.encode(rows))
    await signal.poll(cache)
    found = _written(signal)
    both = found["footprint:all:BTC-USD:1m"]
    assert (both["members"], both["stale"]) == (["one:BTC-USDT", "two:BTC-USD"], ["one:BTC-USDT"])
    assert (both["closed"], both["buy"]) == (False, 6.0)
    assert (found["cvd:all:BTC-USD"]["session"], found["cvd:all:BTC-USD"]["total"]) == (1.0, 20.0)
    profile = found["profile:all:BTC-USD:session"]
    assert (profile["buys"], profile["sells"], profile["poc"]) == ([2.0, 0.0], [1.0, 4.0], 100.0)
    await signal.poll(cache)
    assert _written(signal) == {}, "nothing changed, nothing is written"
