"""Hyperliquid's stream payloads, and the feeds that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._book import Book, Levels
from simulator._candles import DAY_MS, Candle, candle, floor, following, id_at
from simulator._tape import MINUTE_MS, START, Tape
from simulator._text import Texts, decimal
from simulator._venue import Feed, Message, Slice

LEVELS = 20
RECENT = 10
_BOOK_MS, _CONTEXT_MS, _CANDLE_MS = 500, 1_000, 1_000
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")


class Instrument:
    """One tape in Hyperliquid's words."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.coin = tape.listing.symbol
        self.texts = Texts(tape.listing)
        self.book = Book(tape)

    def print(self, name: int, row: tuple[int, int, int, bool, bool]) -> dict[str, Any]:
        """One fill."""
        time, ticks, steps, maker, _ = row
        what = {"coin": self.coin, "side": "A" if maker else "B", "px": self.texts.price(ticks)}
        return {
            **what, "sz": self.texts.quantity(steps), "time": time, "hash": f"0x{name:064x}", "tid": name,
            "users": [f"0x{name:040x}", f"0x{name + 1:040x}"],
        }  # fmt: skip

    def recent(self, now_ms: int, count: int) -> list[dict[str, Any]]:
        """The latest fills, newest first."""
        tape, last = self.tape, id_at(self.tape, now_ms)
        found = []
        for name in range(last, max(0, last - count), -1):
            columns = tape.minute(START + (name - 1) // tape.fills)
            found.append(self.print(name, columns.rows[name - columns.first_id]))
        return found

    def trades(self, key: str, since_ms: int) -> Feed:
        """``trades``: the fills of a moment in one message."""

        def encode(due: Slice, _: int) -> list[Message]:
            rows = enumerate(due.minute.rows[due.first : due.last], due.minute.first_id + due.first)
            made = [self.print(name, row) for name, row in rows]
            return [Message(framed("trades", made), made[0]["tid"], made[-1]["tid"])]

        return Feed(key, "trades", self.coin, self.tape, since_ms=since_ms, on_trades=encode)

    def depth(self, time_ms: int) -> dict[str, Any]:
        """Twenty levels of either side."""
        return {"coin": self.coin, "time": time_ms, "levels": [*map(self._side, self.book.at(time_ms, LEVELS))]}

    def _side(self, levels: Levels) -> list[dict[str, Any]]:
        price, quantity = self.texts.price, self.texts.quantity
        return [{"px": price(ticks), "sz": quantity(steps), "n": 1 + steps % 7} for ticks, steps in levels]

    def books(self, key: str) -> Feed:
        """``l2Book``."""
        return self._slots(key, "books", _BOOK_MS, lambda slot: framed("l2Book", self.depth(slot)))

    def candle(self, made: Candle, interval: str) -> dict[str, Any]:
        """A candle; nothing in it tells whether it is closed."""
        price, quantity = self.texts.price, self.texts.quantity
        prices = {"o": price(made.open), "c": price(made.close), "h": price(made.high), "l": price(made.low)}
        times = {"t": made.open_ms, "T": made.close_ms - 1, "s": self.coin, "i": interval}
        return {**times, **prices, "v": quantity(made.volume), "n": made.trades}

    def candles(self, key: str, interval: str) -> Feed:
        """``candle``: the one that holds the last moment, so the final state of one comes as the next begins."""

        def encode(slot: int) -> bytes | None:
            open_ms = floor(interval, slot - 1)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            return framed("candle", self.candle(made, interval)) if made is not None else None

        return self._slots(key, "klines", _CANDLE_MS, encode)

    def context(self, time_ms: int) -> dict[str, Any]:
        """Marks, funding of the running hour, open interest."""
        tape, listing = self.tape, self.tape.listing
        mark, index = derivatives.mark_price(tape, time_ms), derivatives.index_price(tape, time_ms)
        day = candle(tape, time_ms // MINUTE_MS * MINUTE_MS - DAY_MS, time_ms, time_ms)
        steps = derivatives.open_interest(tape, time_ms)
        return {
            "funding": decimal(round(derivatives.predicted_rate(tape, time_ms) * 1e10), 10),
            "openInterest": self.texts.quantity(steps),
            "prevDayPx": self.texts.price(day.open if day else 1),
            "dayNtlVlm": decimal(day.value * listing.tick * listing.step, listing.value_decimals) if day else "0.0",
            "premium": decimal(round((mark / index - 1.0) * 1e10), 10),
            "oraclePx": f"{index:.8f}",
            "markPx": f"{mark:.8f}",
            "midPx": f"{mark:.8f}",
            "impactPxs": [f"{mark:.8f}", f"{mark:.8f}"],
        }

    def contexts(self, key: str) -> Feed:
        """``activeAssetCtx``: without any time."""

        def encode(slot: int) -> bytes:
            return framed("activeAssetCtx", {"coin": self.coin, "ctx": self.context(slot)})

        return self._slots(key, "funding", _CONTEXT_MS, encode)

    def _slots(self, key: str, channel: str, every_ms: int, body: Any) -> Feed:
        def encode(slot: int) -> Sequence[Message]:
            made = body(slot)
            return [Message(made)] if made is not None else ()

        return Feed(key, channel, self.coin, every_ms=every_ms, on_slot=encode)


def framed(channel: str, data: Any) -> bytes:
    """A message of a channel."""
    return msgspec.json.encode({"channel": channel, "data": data})
