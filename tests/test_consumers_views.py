"""Long views cost a bounded share however many trades a day has, and hold what the table holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from consumers import _views
from consumers._questdb import Questdb
from schemas import time
from tests.conftest import Stack, own_migrated
from tests.harness import eventually

VIEWS = {"trades_OHLC_1h", "trades_OHLC_4h", "trades_OHLC_1d"}
TRADES = """INSERT INTO trades (symbol, exchange, price, quantity, timestamp, is_buyer_maker, trade_id, value, fills)
SELECT 'BTC-USDT', 'binance', 100.0 + x % 7, 0.5, dateadd('u', x::int, to_timestamp('2026-01-01', 'yyyy-MM-dd')),
    true, (x + $1::long)::varchar, 50.0, 1 FROM long_sequence(1000)"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture
async def questdb(migrated: Stack) -> AsyncIterator[Questdb]:
    its = Questdb(migrated.questdb_pg)
    yield its
    await its.close()


async def _types(questdb: Questdb) -> dict[str, str]:
    found = await questdb.fetch(
        "SELECT view_name, refresh_type FROM materialized_views() WHERE base_table_name = 'trades'"
    )
    return dict(found)


async def _traded(questdb: Questdb, first: int) -> None:
    await questdb.fetch(TRADES, first)


async def _hold(questdb: Questdb, view: str, count: int) -> bool:
    return (await questdb.fetch(f"SELECT sum(volume) FROM {view}")) == [(count / 2,)]


async def _settled(questdb: Questdb, count: int, *views: str) -> None:
    async def there() -> bool:
        return all([await _hold(questdb, view, count) for view in views])

    await eventually(there, f"{count} trades in {views}")


async def _paced(questdb: Questdb, kind: str) -> None:
    """Until the long views are of a kind: one that is being refreshed is looked at again later."""

    async def are() -> bool:
        await _views.pace(questdb)
        return {(await _types(questdb))[view] for view in VIEWS} == {kind}

    await eventually(are, f"long views that are {kind}")


async def test_a_slow_view_is_refreshed_seldom_and_one_that_is_quick_again_with_every_commit(
    questdb: Questdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_views, "SLOW", -1)
    monkeypatch.setattr(_views, "QUICK", -1)
    await _traded(questdb, 0)
    await _settled(questdb, 1000, "trades_OHLC_10s", *VIEWS)
    await _paced(questdb, "manual")
    assert {view for view, kind in (await _types(questdb)).items() if kind == "manual"} == VIEWS, "only the long ones"

    monkeypatch.setattr(_views, "SHARE", 1e-12)  # years of rest after each refresh
    await _traded(questdb, 1000)
    await _settled(questdb, 2000, "trades_OHLC_10s", "trades_OHLC_30m")
    assert (await _views.pace(questdb)).keys() == VIEWS
    await _settled(questdb, 1000, *VIEWS)

    monkeypatch.setattr(_views, "SHARE", 1e12)  # no rest at all
    await _views.pace(questdb)
    await _settled(questdb, 2000, *VIEWS)

    monkeypatch.setattr(_views, "SLOW", time.DAY)
    monkeypatch.setattr(_views, "QUICK", time.DAY)
    await _traded(questdb, 2000)
    await _paced(questdb, "immediate")
    await _settled(questdb, 3000, *VIEWS)
    await _traded(questdb, 3000)
    await _settled(questdb, 4000, *VIEWS)
    assert await _views.pace(questdb) == {}


async def test_pacing_goes_on_while_questdb_is_away_and_stops_when_told() -> None:
    away = Questdb("postgresql://127.0.0.1:1/qdb")
    stop, health = asyncio.Event(), dict[str, object]()
    task = asyncio.create_task(_views.keep(away, stop, health))
    await asyncio.sleep(0.05)
    assert not task.done()
    stop.set()
    await task
    assert "paced" not in health
