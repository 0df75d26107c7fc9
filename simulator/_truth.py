"""The referee: exact ids and sums of any range of trades, to compare with what a client made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator._candles import aggregate_at, id_at
from simulator._tape import START, Tape
from simulator._text import decimal
from simulator._venue import Desk, Query, RequestRefused

MINUTES_MAX = 60 * 24 * 7


async def truth(desk: Desk, query: Query) -> dict[str, Any]:
    """Sums over ids ``from_id`` to ``to_id`` (inclusive) or times ``from`` to ``to`` (ms, inclusive) of ``symbol``.

    ``unit`` is ``fill`` or ``aggregate``; without it what the exchange's history returns. The answer names ids and
    times of the first and last, ``count``, ``buyer_maker`` (of units), and exact ``quantity`` and ``value`` (of an
    inverse contract the quantity is as exact as a float).
    """
    tape = desk.find(query.get("symbol", ""))
    if tape is None:
        raise RequestRefused({"error": f"unknown symbol {query.get('symbol')!r}"}, 404)
    try:
        unit = query.get("unit", desk.venue.unit)
        return await _sum(desk, tape, unit == "aggregate", *_bounds(desk, tape, unit == "aggregate", query))
    except ValueError as error:
        raise RequestRefused({"error": str(error)}) from error


def _bounds(desk: Desk, tape: Tape, aggregate: bool, query: Query) -> tuple[int, int]:
    at = aggregate_at if aggregate else id_at
    known = at(tape, desk.now_ms())
    if "from_id" in query:
        return max(1, int(query["from_id"])), min(known, int(query.get("to_id", known)))
    first = at(tape, int(query["from"]) - 1) + 1 if "from" in query else known
    return first, min(known, at(tape, int(query["to"])) if "to" in query else known)


async def _sum(desk: Desk, tape: Tape, aggregate: bool, first: int, last: int) -> dict[str, Any]:
    per = tape.aggregates if aggregate else tape.fills
    begin, end = START + (first - 1) // per, START + (last - 1) // per
    if end - begin > MINUTES_MAX:
        raise ValueError(f"the range holds more than {MINUTES_MAX} minutes")
    steps = value = makers = 0
    coins = 0.0
    times: list[int] = []
    for minute, columns in tape.minutes(begin, end) if first <= last else ():
        offset = (columns.first_aggregate if aggregate else columns.first_id) - 1
        low, high = max(first - offset - 1, 0), min(last - offset, per)
        which = slice(columns.starts[low], columns.starts[high]) if aggregate else slice(low, high)
        steps += int(columns.steps[which].sum())
        value += int((columns.ticks[which] * columns.steps[which]).sum())
        coins += float((columns.steps[which] / columns.ticks[which]).sum())
        makers += int(np.sum(columns.maker[columns.start[low:high]] if aggregate else columns.maker[which]))
        times += [columns.times[which.start], columns.times[which.stop - 1]] if minute in (begin, end) else []
        await desk.breathe()
    listing = tape.listing
    quantity = decimal(steps * listing.step, listing.quantity_decimals)
    worth = decimal(value * listing.tick * listing.step, listing.value_decimals)
    if listing.inverse:
        quantity, worth = repr(coins * listing.step_size / listing.tick_size), quantity
    return {
        "exchange": listing.exchange,
        "symbol": listing.canonical,
        "exchange_symbol": listing.symbol,
        "unit": "aggregate" if aggregate else "fill",
        "from_id": first,
        "to_id": last,
        "from_ms": times[0] if times else None,
        "to_ms": times[-1] if times else None,
        "count": max(0, last - first + 1),
        "buyer_maker": makers,
        "steps": steps,
        "quantity": quantity,
        "value": worth,
    }
