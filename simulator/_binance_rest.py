"""Binance's REST history, spot and futures: the same paths below ``/api/v3``, ``/fapi/v1`` and ``/dapi/v1``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator._binance_requests import HOUR_MS, refuse, whole
from simulator._binance_streams import Instrument
from simulator._book import update_id
from simulator._candles import (
    INTERVALS,
    START_MS,
    Candle,
    aggregate_at,
    candles,
    floor,
    following,
    id_at,
    preceding,
)  # fmt: skip
from simulator._tape import START
from simulator._venue import Desk, Query


@dataclass(frozen=True)
class History:
    """The endpoints of one market. ``limit_error``: too large a limit is refused (futures), else capped (spot)."""

    instruments: Callable[[Desk, str], Instrument | None]
    klines_max: int
    limit_error: bool

    def instrument(self, desk: Desk, query: Query) -> Instrument:
        """The ``symbol`` asked for."""
        symbol = query.get("symbol", "")
        if not symbol:
            raise refuse(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        found = self.instruments(desk, symbol)
        if found is None:
            raise refuse(-1121, "Invalid symbol.")
        return found

    def limit(self, query: Query, default: int, most: int) -> int:
        """How many rows at most."""
        limit = whole(query, "limit", default) or 0
        if limit < 1 or (self.limit_error and limit > most):
            raise refuse(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, most)

    async def klines(self, desk: Desk, query: Query) -> list[Any]:
        """Open times from ``startTime`` to ``endTime``; without a start the latest ones. The last may be forming."""
        instrument, limit = self.instrument(desk, query), self.limit(query, 500, self.klines_max)
        interval = query.get("interval", "")
        if not interval:
            raise refuse(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        if interval not in INTERVALS or (interval == "1s" and instrument.futures):
            raise refuse(-1120, "Invalid interval.")
        now = desk.now_ms()
        start, end = whole(query, "startTime"), min(whole(query, "endTime", now) or 0, now)
        opens = _ascending(interval, start, end, limit) if start is not None else _latest(interval, end, limit)
        made = await candles(instrument.tape, interval, opens, now, desk.breathe)
        return [_row(instrument, one) for one in made]

    async def trades(self, desk: Desk, query: Query) -> list[Any]:
        """The latest fills."""
        instrument, limit = self.instrument(desk, query), self.limit(query, 500, 1_000)
        last = id_at(instrument.tape, desk.now_ms())
        return await _fills(desk, instrument, max(1, last - limit + 1), last)

    async def historical(self, desk: Desk, query: Query) -> list[Any]:
        """Fills from ``fromId`` on, or the latest."""
        instrument, limit = self.instrument(desk, query), self.limit(query, 500, 1_000)
        last = id_at(instrument.tape, desk.now_ms())
        first = whole(query, "fromId")
        first = max(1, last - limit + 1 if first is None else first)
        return await _fills(desk, instrument, first, min(last, first + limit - 1))

    async def aggregates(self, desk: Desk, query: Query) -> list[Any]:
        """Aggregates from ``fromId``, or from ``startTime`` to ``endTime`` (inclusive), or the latest."""
        instrument, limit = self.instrument(desk, query), self.limit(query, 500, 1_000)
        tape, known = instrument.tape, aggregate_at(instrument.tape, desk.now_ms())
        name, start, end = (whole(query, word) for word in ("fromId", "startTime", "endTime"))
        if name is not None and (start is not None or end is not None):
            raise refuse(-1128, "Combination of optional parameters invalid.")
        if self.limit_error and start is not None and end is not None and end - start > HOUR_MS:
            raise refuse(-1127, "More than 1 hours between startTime and endTime.")
        last = known if end is None else min(known, aggregate_at(tape, end))
        if name is not None:
            first = max(1, name)
        elif start is not None:
            first = last + 1 if start > desk.now_ms() else aggregate_at(tape, start - 1) + 1
        else:
            first = max(1, last - limit + 1)
        return await _merged(desk, instrument, first, min(last, first + limit - 1))

    async def depth(self, desk: Desk, query: Query) -> dict[str, Any]:
        """The book now."""
        instrument = self.instrument(desk, query)
        if self.limit_error:
            limit = whole(query, "limit", 500) or 0
            if limit not in (5, 10, 20, 50, 100, 500, 1_000):
                raise refuse(-4021, f"{limit} is not valid depth limit.")
        else:
            limit = self.limit(query, 100, 5_000)
        now = desk.now_ms() // 100 * 100
        bids, asks = instrument.book.at(now, limit)
        price, quantity = instrument.texts.price, instrument.texts.quantity
        times = {"E": now, "T": now} if instrument.futures else {}
        sides = {
            "bids": [(price(ticks), quantity(steps)) for ticks, steps in bids],
            "asks": [(price(ticks), quantity(steps)) for ticks, steps in asks],
        }
        return {"lastUpdateId": update_id(now), **times, **sides}


def _ascending(interval: str, start: int, end: int, limit: int) -> list[int]:
    open_ms = floor(interval, max(start, START_MS))
    open_ms = open_ms if open_ms >= start else following(interval, open_ms)
    opens: list[int] = []
    while open_ms <= end and len(opens) < limit:
        opens.append(open_ms)
        open_ms = following(interval, open_ms)
    return opens


def _latest(interval: str, end: int, limit: int) -> list[int]:
    opens = [floor(interval, end)]
    while len(opens) < limit and opens[-1] > START_MS:
        opens.append(preceding(interval, opens[-1]))
    return opens[::-1]


def _row(instrument: Instrument, made: Candle) -> list[Any]:
    price, quantity, worth = instrument.texts.price, instrument.texts.quantity, instrument.worth
    return [
        made.open_ms, price(made.open), price(made.high), price(made.low), price(made.close),
        quantity(made.volume), made.close_ms - 1, worth(made.volume, made.value), made.trades,
        quantity(made.buy_volume), worth(made.buy_volume, made.buy_value), "0",
    ]  # fmt: skip


async def _fills(desk: Desk, instrument: Instrument, first: int, last: int) -> list[Any]:
    tape, texts, found = instrument.tape, instrument.texts, []
    for _, columns in tape.minutes(START + (first - 1) // tape.fills, START + (last - 1) // tape.fills):
        place = max(first - columns.first_id, 0)
        for name, row in enumerate(columns.rows[place : last - columns.first_id + 1], columns.first_id + place):
            time, ticks, steps, maker, _ = row
            made = {"id": name, "price": texts.price(ticks), "qty": texts.quantity(steps)}
            made |= {"quoteQty": texts.value(ticks * steps), "time": time, "isBuyerMaker": maker}
            found.append(made if instrument.futures else made | {"isBestMatch": True})
        await desk.breathe()
    return found


async def _merged(desk: Desk, instrument: Instrument, first: int, last: int) -> list[Any]:
    tape, found = instrument.tape, []
    for _, columns in tape.minutes(START + (first - 1) // tape.aggregates, START + (last - 1) // tape.aggregates):
        low = max(first - columns.first_aggregate, 0)
        high = min(last - columns.first_aggregate + 1, tape.aggregates)
        for row in instrument.merged(columns, columns.starts[low], columns.starts[high]):
            made = dict(zip(("a", "p", "q", "f", "l", "T", "m"), row, strict=True))
            found.append(made | ({"nq": row[2]} if instrument.futures else {"M": True}))
        await desk.breathe()
    return found
