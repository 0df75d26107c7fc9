"""Bitget's pushes, and the feeds that carry them. Sizes are coins, of coin-margined futures too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._book import Book, Levels, update_id
from simulator._candles import DAY_MS, Candle, candle, floor, following, id_at, preceding
from simulator._market import Listing
from simulator._tape import MINUTE_MS, START, Tape
from simulator._text import Texts, decimal
from simulator._venue import Desk, Feed, Message, Slice

TRADE_ID = 1_300_000_000_000_000_000
"""Trade ids are snowflakes; here they are a large number and the fill's own."""
INTERVALS = {
    "1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "4H": "4h", "6Hutc": "6h", "12Hutc": "12h",
    "1Dutc": "1d", "1Wutc": "1w",
}  # fmt: skip
DEPTHS = {"books1": 1, "books5": 5, "books15": 15}
_RECENT, _ROWS = 20, 5
_BOOK_MS, _TICKER_MS, _CANDLE_MS, _FORCED_MS = 200, 1_000, 1_000, 5_000


class Instrument:
    """One tape in Bitget's words."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.name = tape.listing.symbol
        self.market = market(tape.listing)
        self.texts = Texts(tape.listing)
        self.book = Book(tape)

    def print(self, number: int) -> dict[str, str]:
        """A fill by its number."""
        columns = self.tape.minute(START + (number - 1) // self.tape.fills)
        time, ticks, steps, maker, _ = columns.rows[number - columns.first_id]
        what = {"ts": str(time), "price": self.texts.price(ticks), "size": self.texts.quantity(steps)}
        return what | {"side": "sell" if maker else "buy", "tradeId": str(TRADE_ID + number)}

    def recent(self, arg: Any, now_ms: int) -> bytes:
        """The history sent on subscribing, newest first."""
        last = id_at(self.tape, now_ms)
        return push("snapshot", arg, [self.print(n) for n in range(last, max(0, last - _RECENT), -1)], now_ms)

    def trades(self, key: str, arg: Any, since_ms: int) -> Feed:
        """``trade``: the fills of a moment in one push, newest first."""

        def encode(due: Slice, now: int) -> list[Message]:
            first, last = due.minute.first_id + due.first, due.minute.first_id + due.last - 1
            return [Message(push("update", arg, [*map(self.print, range(last, first - 1, -1))], now), first, last)]

        return Feed(key, "trades", self.name, self.tape, since_ms=since_ms, on_trades=encode)

    def books(self, key: str, arg: Any, depth: int) -> Feed:
        """``books15``: the whole top."""

        def encode(slot: int) -> list[Message]:
            bids, asks = map(self._side, self.book.at(slot, depth))
            data = {"asks": asks, "bids": bids, "checksum": 0, "seq": update_id(slot), "ts": str(slot)}
            return [Message(push("snapshot", arg, [data], slot))]

        return Feed(key, "books", self.name, every_ms=_BOOK_MS, on_slot=encode)

    def _side(self, levels: Levels) -> list[tuple[str, str]]:
        return [(self.texts.price(ticks), self.texts.quantity(steps)) for ticks, steps in levels]

    def row(self, made: Candle) -> list[str]:
        """A candle: open time, prices, coins, quote units, and the latter once more on spot."""
        price, value = self.texts.price, self.texts.value(made.value)
        prices = [price(ticks) for ticks in (made.open, made.high, made.low, made.close)]
        found = [str(made.open_ms), *prices, self.texts.quantity(made.volume), value]
        return found if self.tape.listing.perpetual else [*found, value]

    def rows(self, arg: Any, interval: str, now_ms: int) -> bytes:
        """The candles sent on subscribing; the last one is forming."""
        opens = [floor(interval, now_ms)]
        while len(opens) < _ROWS:
            opens.append(preceding(interval, opens[-1]))
        made = [candle(self.tape, open_ms, following(interval, open_ms), now_ms) for open_ms in reversed(opens)]
        return push("snapshot", arg, [self.row(one) for one in made if one is not None], now_ms)

    def candles(self, key: str, arg: Any, interval: str) -> Feed:
        """``candle1m``: the one of the last moment, so its final state comes as the next one begins."""

        def encode(slot: int) -> list[Message]:
            open_ms = floor(interval, slot - 1)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            return [Message(push("update", arg, [self.row(made)], slot))] if made is not None else []

        return Feed(key, "klines", self.name, every_ms=_CANDLE_MS, on_slot=encode)

    def ticker(self, time_ms: int) -> dict[str, Any]:
        """Prices; of futures also marks, funding and open interest in coins."""
        tape, price = self.tape, self.texts.price
        day = candle(tape, time_ms // MINUTE_MS * MINUTE_MS - DAY_MS, time_ms, time_ms)
        bid, ask = self.book.best(time_ms)
        found = {
            "instId": self.name, "symbol": self.name, "lastPr": price(bid), "bidPr": price(bid), "askPr": price(ask),
            "baseVolume": self.texts.quantity(day.volume if day else 0),
            "quoteVolume": self.texts.value(day.value if day else 0), "ts": str(time_ms),
        }  # fmt: skip
        if not tape.listing.perpetual:
            return found
        return found | {
            "markPrice": _text(derivatives.mark_price(tape, time_ms)),
            "indexPrice": _text(derivatives.index_price(tape, time_ms)),
            "fundingRate": _text(derivatives.predicted_rate(tape, time_ms)),
            "nextFundingTime": str(derivatives.next_funding(tape, time_ms)),
            "holdingAmount": self.texts.quantity(derivatives.open_interest(tape, time_ms)),
            "symbolType": "1", "deliveryPrice": "0",
        }  # fmt: skip

    def tickers(self, key: str, arg: Any) -> Feed:
        """``ticker``."""

        def encode(slot: int) -> list[Message]:
            return [Message(push("snapshot", arg, [self.ticker(slot)], slot))]

        return Feed(key, "funding", self.name, every_ms=_TICKER_MS, on_slot=encode)

    def forced(self, after_ms: int, until_ms: int) -> list[dict[str, str]]:
        """Forced fills as liquidations: the position's side, and the amount in quote units."""
        found = []
        for minute in range((after_ms + 1) // MINUTE_MS, until_ms // MINUTE_MS + 1):
            columns = self.tape.minute(minute)
            first, last = bisect_right(columns.times, after_ms), bisect_right(columns.times, until_ms)
            for time, ticks, steps, maker, forced in columns.rows[first:last]:
                if forced:
                    what = {"symbol": self.name, "side": "buy" if maker else "sell", "ts": str(time)}
                    found.append(what | {"price": self.texts.price(ticks), "amount": self.texts.value(ticks * steps)})
        return found


def forced_feed(key: str, arg: Any, instruments: Sequence[Instrument]) -> Feed:
    """v3 ``liquidation``: those of a whole product type."""

    def encode(slot: int) -> list[Message]:
        data = [row for one in instruments for row in one.forced(slot - _FORCED_MS, slot)]
        return [Message(push("update", arg, data, slot))] if data else []

    return Feed(key, "liquidations", every_ms=_FORCED_MS, on_slot=encode)


def instrument(desk: Desk, name: str) -> Instrument | None:
    """The instrument of that name, made once."""
    tape = desk.tapes.get(name)
    return None if tape is None else desk.remember(name, lambda: Instrument(tape))


def market(listing: Listing) -> str:
    """The product type."""
    if not listing.perpetual:
        return "SPOT"
    return {"USDT": "USDT-FUTURES", "USDC": "USDC-FUTURES"}.get(listing.settle, "COIN-FUTURES")


def push(action: str, arg: Any, data: Any, now_ms: int) -> bytes:
    """A message of a channel."""
    return msgspec.json.encode({"action": action, "arg": arg, "data": data, "ts": now_ms})


def _text(number: float) -> str:
    return decimal(round(number * 10**8), 8)
