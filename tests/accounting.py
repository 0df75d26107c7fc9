"""The referee of completeness: every id between the first and the last of a symbol is stored, named, or unaccounted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from schemas.events import Gap, Trade

_TRADES = msgspec.json.Decoder(Trade).decode_lines
_GAPS = msgspec.json.Decoder(Gap).decode_lines
_NEVER = re.compile(r"never existed: ([0-9 -]+)")


class Account(NamedTuple):
    """What became of the ids ``first`` to ``last``."""

    first: int
    last: int
    stored: set[int]
    named: set[int]
    """Not stored, but in a gap that is open, partial or unfillable."""
    nonexistent: set[int]
    unaccounted: set[int]
    gaps: list[Gap]
    """Each in its last state."""

    @property
    def complete(self) -> bool:
        """Whether every id is stored or proven never to have existed, and no gap is still being worked on."""
        return not self.unaccounted and not self.named and all(gap.status != "open" for gap in self.gaps)


def newest(gaps: Iterable[Gap]) -> list[Gap]:
    """Of each identity the highest revision, at equal revision the latest."""
    found: dict[tuple[Any, ...], Gap] = {}
    for gap in gaps:
        name = (gap.exchange, gap.symbol, gap.channel, gap.timestamp, gap.from_id)
        if name not in found or (found[name].revision, found[name].updated) <= (gap.revision, gap.updated):
            found[name] = gap
    return list(found.values())


def account(trades: Iterable[Trade], gaps: Iterable[Gap], number: Callable[[Trade], int]) -> Account:
    """Account for the ids of one symbol. Two copies of an id that differ in more than their receipt fail."""
    seen: dict[int, Trade] = {}
    for trade in trades:
        bare = msgspec.structs.replace(trade, received=0)
        assert seen.setdefault(number(trade), bare) == bare, "two trades under one id"
    assert seen, "not run: nothing was stored"
    first, last, named, nonexistent = min(seen), max(seen), set[int](), set[int]()
    states = newest(gaps)
    for gap in states:
        if gap.status in ("open", "partial", "unfillable"):
            named |= _span(gap.from_id, gap.to_id)
        if gap.status == "nonexistent":
            nonexistent |= _span(gap.from_id, gap.to_id)
        if gap.status in ("filled", "partial") and (match := _NEVER.search(gap.evidence)):
            for run in match[1].split():
                low, _, high = run.partition("-")
                nonexistent |= _span(low, high or low)
    missing = set(range(first, last + 1)) - seen.keys()
    return Account(first, last, set(seen), missing & named, missing & nonexistent,
                   missing - named - nonexistent, states)  # fmt: skip


async def of_log(
    nats: Client, exchange: str, symbol: str, number: Callable[[Trade], int] = lambda trade: int(trade.trade_id)
) -> Account:
    """The account of what the streams hold."""
    trades = await trades_of(nats, exchange, symbol)
    return account(trades, await gaps_of(nats, exchange, symbol), number)


async def trades_of(nats: Client, exchange: str, symbol: str) -> list[Trade]:
    """Every trade the stream holds of a symbol, copies included."""
    return [t for data in await _read(nats, "MD_TRADE", f"md.trade.{exchange}.{symbol}") for t in _TRADES(data)]


async def gaps_of(nats: Client, exchange: str, symbol: str) -> list[Gap]:
    """Every state of every gap the stream holds of a symbol."""
    return [g for data in await _read(nats, "MD_GAP", f"md.gap.{exchange}.{symbol}") for g in _GAPS(data)]


async def _read(nats: Client, stream: str, subject: str) -> list[bytes]:
    context = nats.jetstream()
    try:
        last = (await context.get_last_msg(stream, subject)).seq or 0
    except NotFoundError:
        return []
    subscription = await context.subscribe(subject, stream=stream, ordered_consumer=True)
    found, reached = [], 0
    while reached < last:
        message = await subscription.next_msg(timeout=10)
        reached = message.metadata.sequence.stream
        found.append(message.data)
    await subscription.unsubscribe()
    return found


def _span(first: str | None, last: str | None) -> set[int]:
    return set(range(int(first), int(last) + 1)) if first and last else set()
