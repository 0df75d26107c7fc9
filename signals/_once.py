"""Computes every key once from the tables, without the log: for cron and for machines that only look in."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from nats.aio.client import Client
from redis.asyncio import Redis

from schemas import time
from schemas.settings import Settings
from signals._archive import Archive
from signals._board import Board
from signals._core import Core
from signals._grid import Grids
from signals._partition import Part
from signals._redis import Writer
from signals._registry import Registry
from signals._seed import Seed
from signals._state import Spans
from signals._tables import Tables

_log = structlog.get_logger()


class RedisAway(ConnectionError):
    """Redis did not take the keys."""


async def compute_once(
    settings: Settings, spans: Spans, names: tuple[str, ...], part: Part, nats: Client, redis: Redis,
    wall: Callable[[], int], monotonic: Callable[[], float],
) -> None:  # fmt: skip
    """Every closed minute of the tables into the keys. No watermark is written: the log has not been read.

    Candles shorter than a minute are in no table, so their keys stay as they are. Raises TablesAway, RedisAway.
    """
    config = settings.signals
    registry = Registry(nats)
    grids = Grids(config.row, lambda _pinned: None)
    await registry.read(grids)
    tables, archive = Tables(settings.questdb.pg), Archive(":memory:", config.closed)
    writer = Writer(redis, "", config.closed)
    try:
        core = Core(config, spans, grids, archive, part)
        until = wall() // time.MINUTE * time.MINUTE
        exchanges = {row[0] for row in await tables.fetch("signal_series")}
        await Seed(core, tables, monotonic).fill(dict.fromkeys(exchanges, until))
        board = Board(core, writer, names)
        board.everything()
        written = 0
        while written == 0 or board.behind:  # ends: every round writes some of what is left
            values, emptied, members = board.gather(monotonic(), last=True)
            if not await writer.write(values, members, None, emptied):
                raise RedisAway(f"Redis: {writer.error}")
            written += len(values) + len(members) + 1
        _log.info("computed_once", symbols=len(core.state.symbols), keys=written - 1)
    finally:
        await writer.close()
        tables.close()
        archive.close()
