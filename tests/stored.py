"""The account of what the tables hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError

from consumers._questdb import QuestdbRefused, QuestdbUnreachable, query
from flowtape import bus
from schemas.events import Gap, Trade
from tests.accounting import Account, account
from tests.conftest import Stack

_TRADES = (
    "SELECT exchange, symbol, timestamp::long, received::long, trade_id, price, quantity, value, is_buyer_maker, fills"
    " FROM trades WHERE symbol = $1 AND timestamp >= $2::long::timestamp"
)
_GAPS = (
    "SELECT exchange, symbol, timestamp::long, received::long, channel, from_id, to_id, from_timestamp::long,"
    " to_timestamp::long, cause, status, expected, filled, evidence, updated::long, revision"
    " FROM gaps WHERE symbol = $1 AND to_timestamp >= $2::long::timestamp"
)


async def stored_account(stack: Stack, symbol: str, since: int = 0) -> Account | None:
    """Of a symbol's ids since a time (µs); None while the tables are empty or away. A trade stored twice fails."""
    try:
        trades = [Trade(*row) for row in await query(stack.questdb_pg, _TRADES, symbol, since)]
        gaps = [Gap(*row) for row in await query(stack.questdb_pg, _GAPS, symbol, since)]
    except (QuestdbUnreachable, QuestdbRefused):
        return None
    assert len({trade.trade_id for trade in trades}) == len(trades), "a trade is stored twice"
    return account(trades, gaps, lambda trade: int(trade.trade_id)) if trades else None


async def whole(
    stack: Stack, wanted: Mapping[str, int], since: Mapping[str, int] | None = None
) -> list[Account] | None:
    """Accounts of symbols whose rows reach the ids ``wanted`` and are complete; None as long as one is not."""
    found = []
    for symbol, last in wanted.items():
        its = await stored_account(stack, symbol, since[symbol] if since else 0)
        if its is None or its.last < last or not its.complete:
            return None
        found.append(its)
    return found


async def marks(stack: Stack, exchange: str, symbols: Iterable[str]) -> list[dict[str, Any]] | None:
    """What producers have marked of these symbols; None while one has no mark, or NATS is away."""
    try:
        nats = await bus.connect(stack.settings, "admin", reconnect=False)
    except (NatsError, OSError):
        return None
    try:
        bucket = await nats.jetstream().key_value("cursors")
        return [json.loads((await bucket.get(f"{exchange}.{symbol}")).value or b"{}") for symbol in symbols]
    except (KeyNotFoundError, NatsError, OSError):
        return None
    finally:
        await nats.close()
