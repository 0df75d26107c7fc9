"""Deribit's notifications, and the feeds that carry them. Amounts of inverse contracts are dollars, else coins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._book import Book, Levels, update_id
from simulator._candles import DAY_MS, Candle, candle, floor, following
from simulator._tape import MINUTE_MS, START, Tape
from simulator._venue import Desk, Feed, Message, Slice

TRADE_ID = 400_000_000
"""Trade ids are unique over all instruments; here they are simply not the sequence."""
RESOLUTIONS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "360": "6h", "720": "12h",
    "1D": "1d",
}  # fmt: skip
SPEEDS = {"100ms": 100, "agg2": 1_000}
_BAR_MS = 1_000


def instrument(desk: Desk, name: str) -> Instrument | None:
    """The instrument of that name, made once."""
    tape = desk.tapes.get(name)
    return None if tape is None else desk.remember(name, lambda: Instrument(tape))


class Instrument:
    """One tape in Deribit's words."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.name = tape.listing.symbol
        self.book = Book(tape)

    def price(self, ticks: int) -> float:
        """Quote units."""
        listing = self.tape.listing
        return round(ticks * listing.tick / 10.0**listing.price_decimals, listing.price_decimals)

    def amount(self, steps: int) -> float:
        """Dollars or coins."""
        listing = self.tape.listing
        return round(steps * listing.step / 10.0**listing.quantity_decimals, listing.quantity_decimals)

    def worth(self, made: Candle) -> tuple[float, float]:
        """Coins and dollars of a candle; an inverse contract's coins at its average price."""
        listing, amount = self.tape.listing, self.amount(made.volume)
        if listing.inverse:
            return round(amount / (made.value / made.volume * listing.tick_size), 8) if made.volume else 0.0, amount
        return amount, round(made.value * listing.tick_size * listing.step_size, 8)

    def print(self, sequence: int) -> dict[str, Any]:
        """A fill by its sequence."""
        columns = self.tape.minute(START + (sequence - 1) // self.tape.fills)
        time, ticks, steps, maker, forced = columns.rows[sequence - columns.first_id]
        price = self.price(ticks)
        found = {
            "timestamp": time, "price": price, "direction": "sell" if maker else "buy", "index_price": price,
            "instrument_name": self.name, "trade_seq": sequence, "mark_price": price, "tick_direction": 0,
            "amount": self.amount(steps), "contracts": float(steps), "trade_id": str(TRADE_ID + sequence),
        }  # fmt: skip
        # Mostly it is the taker who is liquidated, now and then the maker, rarely both.
        return found | ({"liquidation": ("T", "T", "M", "MT")[sequence % 4]} if forced else {})

    def trades(self, channel: str) -> Feed:
        """``trades``: the fills of a moment in one message."""

        def encode(due: Slice, _: int) -> list[Message]:
            first, last = due.minute.first_id + due.first, due.minute.first_id + due.last - 1
            return [Message(notice(channel, [*map(self.print, range(first, last + 1))]), first, last)]

        return Feed(channel, "trades", self.name, self.tape, on_trades=encode)

    def books(self, channel: str, depth: int, every_ms: int) -> Feed:
        """``book.….none.20.100ms``: the whole top."""

        def body(slot: int) -> dict[str, Any]:
            bids, asks = map(self._side, self.book.at(slot, depth))
            head = {"timestamp": slot, "instrument_name": self.name, "change_id": update_id(slot)}
            return head | {"bids": bids, "asks": asks}

        return self._slots(channel, "books", every_ms, body)

    def _side(self, levels: Levels) -> list[tuple[float, float]]:
        return [(self.price(ticks), self.amount(steps)) for ticks, steps in levels]

    def ticker(self, time_ms: int) -> dict[str, Any]:
        """Marks, funding as a rate for eight hours, open interest, the day."""
        tape = self.tape
        day = candle(tape, time_ms // MINUTE_MS * MINUTE_MS - DAY_MS, time_ms, time_ms)
        coins, dollars = self.worth(day) if day else (0.0, 0.0)
        return {
            "timestamp": time_ms, "instrument_name": self.name, "state": "open",
            "mark_price": round(derivatives.mark_price(tape, time_ms), 4),
            "index_price": round(derivatives.index_price(tape, time_ms), 4),
            "open_interest": self.amount(derivatives.open_interest(tape, time_ms)),
            "current_funding": derivatives.predicted_rate(tape, time_ms),
            "funding_8h": derivatives.predicted_rate(tape, time_ms - 1),
            "stats": {"volume": coins, "volume_usd": dollars, "high": None, "low": None, "price_change": None},
        }  # fmt: skip

    def tickers(self, channel: str, every_ms: int) -> Feed:
        """``ticker``."""
        return self._slots(channel, "funding", every_ms, self.ticker)

    def bar(self, made: Candle) -> dict[str, Any]:
        """A candle; nothing in it tells whether it is closed."""
        coins, dollars = self.worth(made)
        prices = map(self.price, (made.open, made.high, made.low, made.close))
        return dict(zip(("open", "high", "low", "close"), prices, strict=True)) | {
            "tick": made.open_ms, "volume": coins, "cost": dollars,
        }  # fmt: skip

    def bars(self, channel: str, resolution: str) -> Feed:
        """``chart.trades``: the candle of the last moment, so its final state comes as the next one begins."""
        interval = RESOLUTIONS[resolution]

        def body(slot: int) -> dict[str, Any] | None:
            open_ms = floor(interval, slot - 1)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            return self.bar(made) if made is not None else None

        return self._slots(channel, "klines", _BAR_MS, body)

    def _slots(self, channel: str, name: str, every_ms: int, body: Callable[[int], Any]) -> Feed:
        def encode(slot: int) -> list[Message]:
            made = body(slot)
            return [Message(notice(channel, made))] if made is not None else []

        return Feed(channel, name, self.name, every_ms=every_ms, on_slot=encode)


def notice(channel: str, data: Any) -> bytes:
    """A notification of a channel."""
    params = {"channel": channel, "data": data}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "subscription", "params": params})
