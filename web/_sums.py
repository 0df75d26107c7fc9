"""Sums over exchanges of the past: members' candles of the tables, added up by the code that adds the live ones."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from schemas import candles, time
from schemas.candles import FootprintCandle
from schemas.symbols import ALL, SIMULATED
from signals._options import options
from signals._pools import Pools, Who
from signals._sum import SumWriter, lots
from web._candles import footprints
from web._desk import Desk
from web._stored import heads

TURN = 50
"""Candles after which other requests get their turn."""


class _Member(NamedTuple):
    """A member's candles of the span by open time, and the CVD after each since the day began, ascending."""

    who: str
    candles: dict[int, FootprintCandle]
    cvd: list[tuple[int, int]]


def is_sum(exchange: str) -> bool:
    """Whether this is no exchange, but several."""
    return exchange.removeprefix(SIMULATED) == ALL


def members_of(desk: Desk, who: Who) -> Sequence[Who]:
    """Whose candles make up those of a symbol: its own, or of a sum those of all its members."""
    if not is_sum(who[0]):
        return (who,)
    pools = Pools(desk.settings.signals.stable)
    for each in desk.instruments.newest:
        pools.add(each)
    return pools.members(who)


async def stored(
    desk: Desk, who: Who, members: Sequence[Who], interval: str, begin: int, end: int
) -> list[msgspec.Raw]:
    """Closed candles of a sum with open times in [begin, end) µs, as JSON; ``begin`` is one's own open time."""
    found = [await _read(desk, member, interval, begin, end) for member in members]
    found = [member for member in found if member.cvd]
    writer, made = SumWriter(options(desk.settings.signals)), list[msgspec.Raw]()
    for at in sorted({at for member in found for at in member.candles}):
        present = [member for member in found if at in member.candles]
        cvd = sum(lots(member.candles[at].cvd) if at in member.candles else _carried(member, at) for member in found)
        told = {
            "members": [member.who for member in present],
            "stale": [member.who for member in found if at not in member.candles],
        }
        made.append(msgspec.Raw(writer.candle(who, [member.candles[at] for member in present], cvd, told)))
        if len(made) % TURN == 0:
            await asyncio.sleep(0)
    return made


async def _read(desk: Desk, member: Who, interval: str, begin: int, end: int) -> _Member:
    day = time.floor(begin, time.DAY)
    its = await heads(desk.tables, *member, day, end, desk.length(interval))
    texts = await footprints(desk, member, interval, its, begin, end)
    held = {at: candles.decode(text) for at, text in texts.items()}
    return _Member(":".join(member), held, [(head.timestamp, lots(head.cvd)) for head in its])


def _carried(member: _Member, at: int) -> int:
    """The CVD that a member without a candle keeps: that of its last one of the same day."""
    place = bisect_left(member.cvd, (at, 0)) - 1
    if place < 0 or member.cvd[place][0] < time.floor(at, time.DAY):
        return 0
    return member.cvd[place][1]
