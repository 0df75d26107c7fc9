"""The tables are what the structs and declarations say, and migrating again changes nothing."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from consumers._questdb import query
from consumers._run import chosen, tables
from flowtape.budget import budget, stream_limits
from flowtape.migrate import migrate
from schemas import names
from schemas.settings import ConfigError, load
from tests.conftest import Stack
from tests.consuming import rows

VIEWS = {
    **{f"trades_OHLC_{name}": ttl for name, ttl in {
        "10s": "HOUR 6 HOUR", "1m": "DAY 1 WEEK", "5m": "DAY 1 WEEK", "15m": "DAY 1 WEEK", "30m": "DAY 2 WEEK",
        "1h": "DAY 30 DAY", "4h": "DAY 60 DAY", "1d": "WEEK 5 WEEK",
    }.items()},
    "open_interest_OHLC_5m": "DAY 1 WEEK",
    "open_interest_OHLC_1h": "DAY 30 DAY",
    "open_interest_OHLC_1d": "WEEK 5 WEEK",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(tables()))
async def test_a_table_has_the_columns_types_and_upsert_keys_of_its_declaration(
    stack: Stack, nats: Client, name: str
) -> None:
    table = tables()[name]
    found = await query(
        stack.questdb_pg, f"SELECT \"column\", type, upsertKey, designated FROM table_columns('{name}')"
    )
    assert {column: kind for column, kind, *_ in found} == table.columns()
    assert {column for column, _, key, _ in found if key} == {"timestamp", *table.keys}
    assert [column for column, *_, designated in found if designated] == ["timestamp"]


async def test_every_table_of_the_contract_exists_with_wal_dedup_and_its_default_ttl(
    stack: Stack, nats: Client
) -> None:
    found = await query(stack.questdb_pg, "SELECT table_name, walEnabled, dedup, ttlValue, ttlUnit FROM tables()")
    have = {name: (wal and dedup, f"{ttl} {unit}") for name, wal, dedup, ttl, unit in found}
    for name in names.TABLES:
        ttl = {"trades": "15 DAY", "books": "1 WEEK", "footprints": "90 DAY"}.get(name, "0 HOUR")
        assert have[name] == (True, ttl), name
    assert set(tables()) == set(names.TABLES) - {"completeness"}, "only an audit writes completeness"


async def test_every_view_of_the_contract_exists_with_its_partition_and_ttl(stack: Stack, nats: Client) -> None:
    found = await query(
        stack.questdb_pg, "SELECT table_name, partitionBy, ttlValue, ttlUnit FROM tables() WHERE matView"
    )
    assert {name: f"{partition} {ttl} {unit}" for name, partition, ttl, unit in found} == VIEWS


async def test_the_trades_table_begins_with_the_columns_of_the_seed(stack: Stack, nats: Client) -> None:
    found = await query(stack.questdb_pg, "SELECT \"column\" FROM table_columns('trades')")
    seed = ["symbol", "price", "quantity", "timestamp", "is_buyer_maker", "exchange", "trade_id", "value"]
    assert [column for (column,) in found] == [*seed, "received", "fills"]


async def test_migrating_again_changes_nothing(stack: Stack, nats: Client) -> None:
    lines: list[str] = []
    await migrate(stack.settings, nats, report=lines.append)
    assert not [line for line in lines if "created" in line or "changed" in line or "keeps" in line]


async def test_a_stream_whose_limits_differ_is_updated_and_keeps_its_messages(stack: Stack, nats: Client) -> None:
    jetstream = nats.jetstream()
    await jetstream.publish("md.dead.frame.binance", b"kept")
    before = await jetstream.stream_info(names.STREAM_DEAD)
    await jetstream.update_stream(before.config.evolve(max_age=3600.0))
    lines: list[str] = []
    await migrate(stack.settings, nats, report=lines.append)
    after = await jetstream.stream_info(names.STREAM_DEAD)
    assert after.config.max_age == before.config.max_age
    assert (after.created, after.state.messages) == (before.created, before.state.messages)
    assert [line for line in lines if line.startswith(f"stream {names.STREAM_DEAD}: changed max_age")]


async def test_streams_are_files_with_limits_and_a_two_minute_duplicate_window(stack: Stack, nats: Client) -> None:
    for name in names.STREAMS:
        config = (await nats.jetstream().stream_info(name)).config
        assert (config.storage, config.retention, config.discard, config.compression) == ("file", "limits", "old", "s2")
        assert config.allow_direct
        assert config.max_bytes > 0
        assert config.max_age > 0
        assert config.duplicate_window == 120
    assert config is not None


async def test_a_ttl_that_is_no_whole_number_of_partitions_is_a_config_error(stack: Stack, nats: Client) -> None:
    settings = load('[retention]\ntrades = "36h"', {})
    settings.questdb, settings.disk = stack.settings.questdb, stack.settings.disk
    with pytest.raises(ConfigError, match=r"retention\.trades"):
        await migrate(settings, nats)


async def test_a_ttl_follows_the_settings_there_and_back(stack: Stack, nats: Client) -> None:
    settings = load('[retention]\nfunding = "4w"', {})
    settings.questdb, settings.disk = stack.settings.questdb, stack.settings.disk
    await migrate(settings, nats)
    lines: list[str] = []
    await migrate(stack.settings, nats, report=lines.append)
    assert "table funding: keeps everything" in lines
    assert await rows(stack, "SELECT 1")


def test_stream_sizes_add_up_to_less_than_the_budget_and_a_given_size_wins() -> None:
    settings = load('disk = "100GB"\n[streams.trades]\nmax_bytes = "1GB"\nmax_age = "2d"', {})
    limits = stream_limits(settings)
    assert list(limits) == list(names.STREAMS)
    assert (limits["MD_TRADE"].max_bytes, limits["MD_TRADE"].max_age_s) == (10**9, 172_800)
    assert sum(limit.max_bytes for limit in limits.values()) < budget(settings)


def test_an_unknown_table_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="footprints"):
        chosen(["nonsense"])
    assert [table.name for table in chosen(["trade", "gap", "candles"])] == ["candles", "gaps", "trades"]
