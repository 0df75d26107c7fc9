"""What was computed from trades, compared with the trades themselves: late and filled ones must have corrected it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import redis

from consumers._questdb import QuestdbRefused, QuestdbUnreachable, query
from schemas.names import key
from schemas.time import DAY
from tests.conftest import Stack

NEAR = 1e-6
"""Sums of doubles, added in another order."""
_CANDLES = (
    "SELECT exchange, symbol, timestamp::long, trades, buy, sell, complete FROM candles ORDER BY symbol, timestamp"
)
_FOOTPRINTS = "SELECT exchange, symbol, timestamp::long, sum(buys + sells), sum(buy), sum(sell) FROM footprints"
_MINUTES = (
    "SELECT exchange, symbol, timestamp_floor('m', timestamp)::long AS minute, count(),"
    " sum(CASE WHEN is_buyer_maker THEN 0.0 ELSE quantity END),"
    " sum(CASE WHEN is_buyer_maker THEN quantity ELSE 0.0 END)"
    " FROM trades"
)
Sums = tuple[int, float, float]


async def differences(stack: Stack) -> list[str]:
    """Where candles, footprints, CVD or profiles differ from the sums of the trades, or say they are incomplete."""
    try:
        minutes = {row[:3]: row[3:] for row in await query(stack.questdb_pg, _MINUTES)}
        candles = await query(stack.questdb_pg, _CANDLES)
        footprints = {row[:3]: row[3:] for row in await query(stack.questdb_pg, _FOOTPRINTS)}
    except (QuestdbUnreachable, QuestdbRefused) as error:
        return [str(error)]
    if not candles:
        return ["not run: no candle was closed"]
    wrong = []
    for *who, trades, buy, sell, complete in candles:
        wanted = minutes.get(tuple(who), (0, 0.0, 0.0))
        if not complete:
            wrong.append(f"candle {who} is not complete")
        if not _same((trades, buy, sell), wanted):
            wrong.append(f"candle {who}: {(trades, buy, sell)}, trades: {wanted}")
        if not _same(footprints.get(tuple(who), (0, 0.0, 0.0)), wanted):
            wrong.append(f"footprint {who}: {footprints.get(tuple(who))}, trades: {wanted}")
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as cache:
        for exchange, symbol in {who[:2] for who in minutes}:
            today = max(at for e, s, at in minutes if (e, s) == (exchange, symbol)) // DAY * DAY
            own = [its for (e, s, at), its in minutes.items() if (e, s) == (exchange, symbol) and at >= today]
            buy, sell = sum(its[1] for its in own), sum(its[2] for its in own)
            wrong += _keys(cache, exchange, symbol, buy, sell)
    return wrong


def _keys(cache: Any, exchange: str, symbol: str, buy: float, sell: float) -> Iterator[str]:
    cvd = msgspec.json.decode(cache.get(key("cvd", exchange, symbol)) or b"{}")
    if abs(cvd.get("session", float("inf")) - (buy - sell)) > NEAR:
        yield f"cvd of {symbol}: {cvd.get('session')}, trades: {buy - sell}"
    profile = msgspec.json.decode(cache.get(key("profile", exchange, symbol, "session")) or b"{}")
    total = sum(profile.get("buys", ())) + sum(profile.get("sells", ()))
    if abs(total - buy - sell) > NEAR:
        yield f"profile of {symbol}: {total}, trades: {buy + sell}"


def _same(one: Sums, other: Sums) -> bool:
    return one[0] == other[0] and all(abs(a - b) < NEAR for a, b in zip(one[1:], other[1:], strict=True))
