"""Mark and index prices, funding and open interest of perpetuals, as functions of time."""

from __future__ import annotations

import numpy as np

from simulator._noise import key, scatter_one, wander
from simulator._tape import Tape

HOUR_MS = 3_600_000
_SPELL_MS = 60 * HOUR_MS
"""How long the mood of a market lasts."""


def index_price(tape: Tape, time_ms: int) -> float:
    """The coin's price, whoever trades it."""
    return tape.market.price(tape.listing.coin, time_ms)


def mark_price(tape: Tape, time_ms: int) -> float:
    """The index and what funding makes of it, a few hundredths of a percent."""
    return index_price(tape, time_ms) * (1.0 + predicted_rate(tape, time_ms) * 0.5)


def funding_hours(tape: Tape) -> int:
    """What the listing says, else 8 for most instruments, 4 for one in three, by name; the most traded keep 8."""
    if tape.listing.funding_hours:
        return tape.listing.funding_hours
    if tape.listing.coin.share == tape.market.coins[0].share:
        return 8
    return 4 if scatter_one(key("funding", tape.listing.coin.name), 0) % 3 == 0 else 8


def next_funding(tape: Tape, time_ms: int) -> int:
    """When (ms) the period ends that ``time_ms`` is in; at its very end it is still that one."""
    period = funding_hours(tape) * HOUR_MS
    return -(-time_ms // period) * period


def funding_rate(tape: Tape, end_ms: int) -> float:
    """The rate settled at ``end_ms``, a multiple of the period: to eight decimals, of either sign."""
    seed = key(tape.market.seed, "funding", tape.listing.exchange, tape.listing.symbol)
    spell, rest = divmod(end_ms, _SPELL_MS)
    left, right, own = (scatter_one(seed, place) / 2**64 - 0.5 for place in (spell, spell + 1, -end_ms))
    return round(0.00006 + 0.0005 * (left + (right - left) * rest / _SPELL_MS) + 0.00004 * own, 8)


def predicted_rate(tape: Tape, time_ms: int) -> float:
    """What the rate would be if the period ended now: from the last one to the next."""
    end = next_funding(tape, time_ms)
    period = funding_hours(tape) * HOUR_MS
    part = (time_ms - (end - period)) / period
    return round(funding_rate(tape, end) * part + funding_rate(tape, end - period) * (1.0 - part), 8)


def open_interest(tape: Tape, time_ms: int) -> int:
    """Open contracts in quantity steps, moving by the five minutes."""
    seed = key(tape.market.seed, "open interest", tape.listing.exchange, tape.listing.symbol)
    slot, rest = divmod(time_ms, 300_000)
    left, right = wander(seed, slot, 2, 0.0004)
    listing = tape.listing
    dollars = 6e9 * listing.coin.share * float(np.exp(left + (right - left) * rest / 300_000))
    return max(1, round(dollars / listing.step_dollars))
