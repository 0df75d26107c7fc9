"""Bybit's WebSocket payloads, and the feeds that carry them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._book import SLOT_MS, Book, Levels, changes
from simulator._candles import DAY_MS, Candle, candle, floor, following, preceding
from simulator._forced import forced
from simulator._noise import key as noise_key
from simulator._tape import Tape
from simulator._text import Texts
from simulator._venue import Feed, Message, Slice

INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h", "360": "6h",
    "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
DEPTHS = (1, 50, 200, 1_000)
_SIDES = ("Buy", "Sell")
_TICKER_MS, _FORCED_MS = 200, 500
_TRADES_MAX = 1_024


class Instrument:
    """One tape in Bybit's words. Sizes of inverse contracts are dollars."""

    def __init__(self, tape: Tape, category: str) -> None:
        self.tape, self.listing, self.category = tape, tape.listing, category
        self.symbol = tape.listing.symbol
        texts = Texts(tape.listing)
        self.price, self.size, self.value = texts.price, texts.quantity, texts.value
        self.book = Book(tape)
        self._prefix = f"{noise_key(self.symbol) % 2**32:08x}-5a5a-5dea-8000-"

    def name(self, number: int) -> str:
        """A trade's id: a number of 19 digits on spot, a UUID whose end is the number on contracts."""
        return f"{2_290_000_000_000_000_000 + number}" if self.category == "spot" else f"{self._prefix}{number:012x}"

    # --- trades ------------------------------------------------------------------------------------------------
    def trades(self, key: str) -> Feed:
        """``publicTrade``: a message holds what one order took at one moment."""

        def encode(due: Slice, now: int) -> list[Message]:
            rows = list(enumerate(due.minute.rows[due.first : due.last], due.minute.first_id + due.first))
            made = []
            for _, taken in groupby(rows, key=lambda row: (row[1][0], row[1][3])):
                fills = list(taken)
                for start in range(0, len(fills), _TRADES_MAX):
                    part = fills[start : start + _TRADES_MAX]
                    body = self.pushed("publicTrade", [self.fill(number, row) for number, row in part], now)
                    made.append(Message(body, part[0][0], part[-1][0]))
            return made

        return Feed(key, "trades", self.symbol, self.tape, on_trades=encode)

    def fill(self, number: int, row: tuple[int, int, int, bool, bool]) -> dict[str, Any]:
        """One execution; ``S`` is the taker's side."""
        time, ticks, steps, maker, _ = row
        return {
            "T": time, "s": self.symbol, "S": _SIDES[maker], "v": self.size(steps), "p": self.price(ticks),
            "L": "ZeroPlusTick", "i": self.name(number), "BT": False, "RPI": False, "seq": time * 10,
        }  # fmt: skip

    def liquidations(self, key: str) -> Feed:
        """``allLiquidation``: all of the last half second; ``S`` is the position's side."""

        def encode(slot: int) -> list[Message]:
            data = [
                {"T": its.time_ms, "s": self.symbol, "S": "Buy" if its.sells else "Sell", "v": self.size(its.steps),
                 "p": self.price(its.bankrupt)}
                for its in forced(self.tape, slot - _FORCED_MS, slot)
            ]  # fmt: skip
            return [Message(self.pushed("allLiquidation", data, slot))] if data else []

        return Feed(key, "liquidations", self.symbol, every_ms=_FORCED_MS, on_slot=encode)

    # --- books -------------------------------------------------------------------------------------------------
    def levels(self, side: Levels) -> list[tuple[str, str]]:
        """``[["price","size"],…]``."""
        return [(self.price(ticks), self.size(steps)) for ticks, steps in side]

    def books(self, key: str, depth: int, now_ms: int) -> tuple[bytes, Feed]:
        """``orderbook``: the snapshot, and the changes after it, numbered one by one."""
        before = now_ms // SLOT_MS * SLOT_MS
        known = self.book.at(before, depth)
        first = self._depth("snapshot", depth, before, *known)

        def encode(slot: int) -> list[Message]:
            nonlocal known
            new = self.book.at(slot, depth)
            bids, asks = changes(known[0], new[0])[::-1], changes(known[1], new[1])
            known = new
            return [Message(self._depth("delta", depth, slot, bids, asks))]

        return first, Feed(key, "books", self.symbol, self.tape, SLOT_MS, before, on_slot=encode)

    def _depth(self, word: str, depth: int, slot: int, bids: Levels, asks: Levels) -> bytes:
        data = {
            "s": self.symbol,
            "b": self.levels(bids),
            "a": self.levels(asks),
            "u": slot // SLOT_MS,
            "seq": slot * 10,
        }
        return self.pushed(f"orderbook.{depth}", data, slot + 3, word, cts=slot)

    # --- candles -----------------------------------------------------------------------------------------------
    def candles(self, key: str, word: str) -> Feed:
        """``kline``: every two seconds, and once more when it is over (``confirm``)."""
        interval = INTERVALS[word]

        def encode(slot: int) -> list[Message]:
            closes = floor(interval, slot) == slot
            open_ms = preceding(interval, slot) if closes else floor(interval, slot)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            if made is None:
                return []
            names = ("start", "open", "high", "low", "close", "volume", "turnover")
            row = dict(zip(names, [open_ms, *self.row(made)[1:]], strict=True))
            row |= {"end": made.close_ms - 1, "interval": word, "confirm": closes, "timestamp": slot}
            return [Message(self.pushed(f"kline.{word}", [row], slot))]

        return Feed(key, "klines", self.symbol, self.tape, 2_000, on_slot=encode)

    def row(self, made: Candle) -> list[str]:
        """Open time, prices, volume, turnover; of inverse contracts dollars and coins."""
        prices = [self.price(ticks) for ticks in (made.open, made.high, made.low, made.close)]
        turnover = self.value(made.value)
        if self.listing.inverse and made.volume:
            coins = made.volume * self.listing.step_size / (made.value / made.volume * self.listing.tick_size)
            turnover = f"{coins:.8f}"
        return [str(made.open_ms), *prices, self.size(made.volume), turnover]

    # --- tickers -----------------------------------------------------------------------------------------------
    def ticker(self, now_ms: int) -> dict[str, str]:
        """Everything a ticker can say."""
        bid, ask = self.book.best(now_ms)
        made = candle(self.tape, now_ms - DAY_MS, now_ms, now_ms)
        row = self.row(made) if made is not None else ["0"] * 7
        known = {"symbol": self.symbol, "lastPrice": row[4], "highPrice24h": row[2], "lowPrice24h": row[3],
                 "volume24h": row[5], "turnover24h": row[6]}  # fmt: skip
        if self.category == "spot":
            return known
        return {**known, "bid1Price": self.price(bid), "ask1Price": self.price(ask), **self.derived(now_ms)}

    def derived(self, now_ms: int) -> dict[str, str]:
        """Marks, funding, and open interest counted on both sides and on one."""
        tape = self.tape
        mark, steps = derivatives.mark_price(tape, now_ms), derivatives.open_interest(tape, now_ms)
        units = steps * self.listing.step_size
        value = units / mark if self.listing.inverse else units * mark
        return {
            "markPrice": f"{mark:.8f}", "indexPrice": f"{derivatives.index_price(tape, now_ms):.8f}",
            "fundingRate": f"{derivatives.predicted_rate(tape, now_ms):.8f}",
            "nextFundingTime": str(derivatives.next_funding(tape, now_ms)),
            "fundingIntervalHour": str(derivatives.funding_hours(tape)), "openInterest": self.size(2 * steps),
            "openInterestValue": f"{2 * value:.8f}", "singleOpenInterest": self.size(steps),
            "singleOpenInterestValue": f"{value:.8f}",
        }  # fmt: skip

    def tickers(self, key: str, now_ms: int) -> tuple[bytes, Feed]:
        """``tickers``: all of it, then only what has changed."""
        known = self.ticker(now_ms)
        first = self.pushed("tickers", dict(known), now_ms, "snapshot")

        def encode(slot: int) -> list[Message]:
            new = {**known, **self.derived(slot)} if self.category != "spot" else known
            changed = {name: text for name, text in new.items() if known[name] != text}
            known.update(new)
            return (
                [Message(self.pushed("tickers", {"symbol": self.symbol, **changed}, slot, "delta"))] if changed else []
            )

        return first, Feed(key, "funding", self.symbol, every_ms=_TICKER_MS, on_slot=encode)

    def pushed(self, topic: str, data: Any, now: int, word: str = "snapshot", **more: Any) -> bytes:
        """A message about this instrument."""
        body = {"topic": f"{topic}.{self.symbol}", "type": word, "ts": now, "data": data, **more}
        return msgspec.json.encode(body)
