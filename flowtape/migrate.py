"""Streams, buckets, tables and views as this version wants them. Run again, it changes nothing; it deletes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, RetentionPolicy, StorageType, StoreCompression, StreamConfig
from nats.js.errors import APIError, NotFoundError

from consumers._questdb import SQL, Questdb, QuestdbRefused, QuestdbUnreachable, statement, statements
from flowtape import bus
from flowtape.budget import Limits, stream_limits
from schemas import names
from schemas.settings import ConfigError, Settings
from schemas.time import HOUR

Report = Callable[[str], None]
HISTORY = {names.BUCKET_INSTRUMENTS: 64, names.BUCKET_CURSORS: 1}
SIGNALS_PER_SUBJECT_MAX = 1000
"""So that the last candles of a symbol can be fetched, however busy the others are."""
_HOURS = {"HOUR": 1, "DAY": 24, "WEEK": 168}
"""Of a partition, and of the unit a TTL is told in."""
_NO_STORE = 10047
_COLUMN_ADDED = re.compile(r"ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+) ")


def run(settings: Settings, report: Report) -> int:
    """``flowtape migrate``: 0, or 1 with the reason on stderr where a server is away or refuses."""
    try:
        asyncio.run(provision(settings, report))
    except (QuestdbUnreachable, QuestdbRefused, NatsError, OSError, TimeoutError) as error:
        print(f"flowtape migrate: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


async def provision(settings: Settings, report: Report) -> None:
    """``migrate`` over a connection of its own, as ``admin``. Raises what ``migrate`` and connecting raise."""
    nats = await bus.connect(settings, "admin", reconnect=False)
    try:
        await migrate(settings, nats, report=report)
    finally:
        await nats.close()


def _quiet(_line: str) -> None:
    """Report to nobody."""


async def migrate(settings: Settings, nats: Client, *, report: Report = _quiet) -> None:
    """Bring NATS and QuestDB up to date, a line to ``report`` for each thing made or changed.

    Raises ConfigError (a limit or TTL that cannot be), QuestdbUnreachable, QuestdbRefused, nats errors.
    """
    js = nats.jetstream()
    changed = [await _stream(js, name, limits, report) for name, limits in stream_limits(settings).items()]
    changed += [await _bucket(js, bucket, history, report) for bucket, history in HISTORY.items()]
    if any(changed):
        # nats-server does not fsync the files that say which streams there are: without this a power cut takes all
        await asyncio.to_thread(os.sync)
    questdb = Questdb(settings.questdb.pg)
    try:
        await _tables(questdb, report)
        await _ttls(questdb, settings, report)
    finally:
        await questdb.close()


def _config(name: str, limits: Limits) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=names.stream_subjects(name),
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        compression=StoreCompression.S2,
        allow_direct=True,
        max_age=limits.max_age_s,
        max_bytes=limits.max_bytes,
        max_msgs_per_subject=SIGNALS_PER_SUBJECT_MAX if name == names.STREAM_SIGNALS else -1,
        duplicate_window=min(names.DUPLICATE_WINDOW_S, limits.max_age_s or names.DUPLICATE_WINDOW_S),
    )


async def _stream(js: JetStreamContext, name: str, limits: Limits, report: Report) -> bool:
    """Make or update one stream; whether anything changed."""
    wanted = _config(name, limits)
    try:
        have = (await js.stream_info(name)).config
    except NotFoundError:
        await _apply(js.add_stream(wanted), name, limits)
        report(f"stream {name}: created, {limits.describe()}")
        return True
    if limits.derived:
        wanted.max_bytes = have.max_bytes  # what is free shrinks as streams fill: not a reason to cut them
    fields = ("subjects", "max_age", "max_bytes", "max_msgs_per_subject", "duplicate_window", "compression", "discard")
    differ = [field for field in fields if getattr(wanted, field) != getattr(have, field)]
    if not differ:
        report(f"stream {name}: as it was, {limits._replace(max_bytes=have.max_bytes or 0).describe()}")
        return False
    changes = {field: getattr(wanted, field) for field in differ}
    await _apply(js.update_stream(have.evolve(**changes)), name, limits)
    report(f"stream {name}: changed {', '.join(differ)}; {limits.describe()}")
    return True


async def _apply(request: Any, name: str, limits: Limits) -> None:
    try:
        await request
    except APIError as error:
        if error.err_code != _NO_STORE:
            raise
        problem = f"NATS has no room for stream {name} ({limits.describe()}); lower it or free space"
        raise ConfigError("flowtape.toml", "disk", problem) from error


async def _bucket(js: JetStreamContext, bucket: str, history: int, report: Report) -> bool:
    try:
        have = (await js.stream_info(f"KV_{bucket}")).config
    except NotFoundError:
        await js.create_key_value(KeyValueConfig(bucket=bucket, history=history, direct=True))
        report(f"bucket {bucket}: created, history {history}")
        return True
    if have.max_msgs_per_subject == history:
        return False
    await js.update_stream(have.evolve(max_msgs_per_subject=history))
    report(f"bucket {bucket}: history is now {history}")
    return True


async def _tables(questdb: Questdb, report: Report) -> None:
    """Apply ``sql/NNNN_*.sql`` in order. Every statement says IF NOT EXISTS, so all are applied every time."""
    files = sorted(SQL.glob("[0-9]*.sql"))
    for path in files:
        for text in statements(path):
            if not await _has_column(questdb, text):
                await questdb.fetch(text)
    report(f"tables and views: {len(files)} files applied, up to {files[-1].name}")


async def _has_column(questdb: Questdb, text: str) -> bool:
    """Whether ``text`` adds a column that is there: QuestDB refuses that even where it says IF NOT EXISTS."""
    added = _COLUMN_ADDED.match(text)
    if added is None:
        return False
    columns = await questdb.fetch(statement("columns", table=added[1]))
    return (added[2],) in columns


async def _ttls(questdb: Questdb, settings: Settings, report: Report) -> None:
    """Give each table the TTL of ``[retention]``."""
    have = {name: (partition, ttl * _HOURS.get(unit, 0)) for name, partition, ttl, unit in await _ttl_rows(questdb)}
    for table in names.TABLES:
        partition, now = have[table]
        wanted, rest = divmod(getattr(settings.retention, table), HOUR)
        if rest or wanted % _HOURS[partition]:
            problem = f"must be whole partitions of one {partition.lower()}, or off"
            raise ConfigError("flowtape.toml", f"retention.{table}", problem)
        if wanted != now:
            await questdb.fetch(statement("set_ttl", table=table, hours=wanted))
            report(f"table {table}: keeps {f'{wanted // 24} days' if wanted else 'everything'}")


async def _ttl_rows(questdb: Questdb) -> list[tuple[Any, ...]]:
    rows = await questdb.fetch(statement("ttls"))
    missing = set(names.TABLES) - {row[0] for row in rows}
    if missing:
        raise QuestdbRefused(statement("ttls"), f"no table {', '.join(sorted(missing))} although just created")
    return rows
