"""``/api/feeds``: when each exchange, channel and symbol was heard last."""

from __future__ import annotations

import asyncio

import msgspec

from schemas import time
from schemas.names import CHANNELS
from web._desk import Desk
from web._endpoint import Endpoint, Query

LOOK_BACK = {"trades": time.HOUR, "books": time.HOUR}
"""How far back a channel is looked at: the fast ones are long, and silent for an hour is silent. Else three days."""
_ELSE = 3 * time.DAY


class Ask(Query, kw_only=True):
    """Nothing to choose."""


class Feed(msgspec.Struct):
    """``received`` is our clock when its last stored event came."""

    exchange: str
    symbol: str
    channel: str
    received: int


class Answer(msgspec.Struct):
    """By channel, exchange and symbol. ``as_of`` is our clock now: the age is the difference."""

    as_of: int
    feeds: list[Feed]


async def handle(desk: Desk, _ask: Ask) -> Answer:
    """From the tables: what is not stored has not arrived."""
    now = desk.clock()
    found = await asyncio.gather(
        *(desk.tables.fetch("web_feeds", now - LOOK_BACK.get(word, _ELSE), table=word) for word in CHANNELS)
    )
    return Answer(
        desk.clock(),
        [Feed(exchange, symbol, word, at) for word, rows in zip(CHANNELS, found, strict=True)
         for exchange, symbol, at in rows if at is not None],
    )  # fmt: skip


ENDPOINTS = (Endpoint("/api/feeds", "Age of the last event of every feed", Ask, Answer, handle),)
