"""Kraken spot v2's messages, and the feeds that carry them. Prices and sizes are JSON numbers in full precision."""

from __future__ import annotations

from zlib import crc32

from schemas import time
from simulator._book import SLOT_MS, Book, Levels, changes
from simulator._candles import Candle, candle, floor, following, id_at, preceding
from simulator._tape import START, Tape
from simulator._text import Texts
from simulator._venue import Feed, Message, Slice

REPLAYED = 50
"""Trades that a subscription begins with."""
INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d"}
DEPTHS = (10, 25, 100, 500, 1000)
CANDLES = 5
_CHECKED = 10


def iso(ms: int) -> str:
    """``2026-11-22T00:00:00.123000Z``."""
    return time.iso(ms * 1_000)


class Pair:
    """One tape in Kraken's words."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.symbol = tape, tape.listing.symbol
        self.texts, self.book = Texts(tape.listing), Book(tape)

    # --- trades ------------------------------------------------------------------------------------------------
    def _fill(self, name: int, row: tuple[int, int, int, bool, bool]) -> str:
        at, ticks, steps, maker, _ = row
        what = f'"side":"{"sell" if maker else "buy"}","price":{self.texts.price(ticks)}'
        rest = f'"qty":{self.texts.quantity(steps)},"ord_type":"market","trade_id":{name},"timestamp":"{iso(at)}"'
        return f'{{"symbol":"{self.symbol}",{what},{rest}}}'

    def replay(self, now_ms: int) -> bytes:
        """The last trades, oldest first."""
        last, fills = id_at(self.tape, now_ms), []
        for _, columns in self.tape.minutes(
            START + max(0, last - REPLAYED) // self.tape.fills, START + (last - 1) // self.tape.fills
        ):
            rows = enumerate(columns.rows, columns.first_id)
            fills += [self._fill(name, row) for name, row in rows if last - REPLAYED < name <= last]
        return f'{{"channel":"trade","type":"snapshot","data":[{",".join(fills)}]}}'.encode()

    def trades(self, now_ms: int) -> Feed:
        """One message for what has traded."""

        def encode(due: Slice, _: int) -> list[Message]:
            first = due.minute.first_id + due.first
            fills = [self._fill(name, row) for name, row in enumerate(due.minute.rows[due.first : due.last], first)]
            body = f'{{"channel":"trade","type":"update","data":[{",".join(fills)}]}}'
            return [Message(body.encode(), first, first + len(fills) - 1)]

        return Feed(f"trade {self.symbol}", "trades", self.symbol, self.tape, since_ms=now_ms, on_trades=encode)

    # --- book --------------------------------------------------------------------------------------------------
    def snapshot(self, slot: int, depth: int) -> bytes:
        """The top of the book."""
        bids, asks = self.book.at(slot, depth)
        return self._book("snapshot", slot, bids, asks, self._checksum(bids, asks))

    def updates(self, now_ms: int, depth: int) -> Feed:
        """What changed within the depth; what fell out of it is not said."""

        def encode(slot: int) -> list[Message]:
            old, new = self.book.at(slot - SLOT_MS, depth), self.book.at(slot, depth)
            bids = [level for level in changes(old[0], new[0]) if level[0] >= new[0][-1][0]]
            asks = [level for level in changes(old[1], new[1]) if level[0] <= new[1][-1][0]]
            return [Message(self._book("update", slot, bids, asks, self._checksum(*new)))] if bids or asks else []

        since = now_ms // SLOT_MS * SLOT_MS
        return Feed(f"book-{depth} {self.symbol}", "books", self.symbol, None, SLOT_MS, since, on_slot=encode)

    def _book(self, word: str, slot: int, bids: Levels, asks: Levels, checksum: int) -> bytes:
        sides = f'"bids":[{self._levels(bids)}],"asks":[{self._levels(asks)}]'
        data = f'{{"symbol":"{self.symbol}",{sides},"checksum":{checksum},"timestamp":"{iso(slot)}"}}'
        return f'{{"channel":"book","type":"{word}","data":[{data}]}}'.encode()

    def _levels(self, side: Levels) -> str:
        price, quantity = self.texts.price, self.texts.quantity
        return ",".join(f'{{"price":{price(ticks)},"qty":{quantity(steps)}}}' for ticks, steps in side)

    def _checksum(self, bids: Levels, asks: Levels) -> int:
        levels = [*asks[:_CHECKED], *bids[:_CHECKED]]
        texts = (text for t, s in levels for text in (self.texts.price(t), self.texts.quantity(s)))
        return crc32("".join(text.replace(".", "").lstrip("0") for text in texts).encode())

    # --- candles -----------------------------------------------------------------------------------------------
    def history(self, now_ms: int, minutes: int) -> bytes:
        """The last candles, the forming one included."""
        interval, opens = INTERVALS[minutes], [floor(INTERVALS[minutes], now_ms)]
        while len(opens) < CANDLES:
            opens.append(preceding(interval, opens[-1]))
        made = [candle(self.tape, open_ms, following(interval, open_ms), now_ms) for open_ms in reversed(opens)]
        return self._ohlc("snapshot", minutes, [one for one in made if one is not None and one.trades])

    def candles(self, now_ms: int, minutes: int) -> Feed:
        """The forming candle once a second from its first trade, and at its end a last time; none is called closed."""
        interval = INTERVALS[minutes]

        def encode(slot: int) -> list[Message]:
            open_ms = floor(interval, slot - 1)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            return [Message(self._ohlc("update", minutes, [made]))] if made is not None and made.trades else []

        since = now_ms // 1_000 * 1_000
        return Feed(f"ohlc-{minutes} {self.symbol}", "klines", self.symbol, None, 1_000, since, on_slot=encode)

    def _ohlc(self, word: str, minutes: int, made: list[Candle]) -> bytes:
        rows = ",".join(self._candle(one, minutes) for one in made)
        return f'{{"channel":"ohlc","type":"{word}","timestamp":"{iso(0)}","data":[{rows}]}}'.encode()

    def _candle(self, it: Candle, minutes: int) -> str:
        price = self.texts.price
        prices = f'"open":{price(it.open)},"high":{price(it.high)},"low":{price(it.low)},"close":{price(it.close)}'
        sums = f'"trades":{it.trades},"volume":{self.texts.quantity(it.volume)},"vwap":{vwap(self.tape, it)}'
        times = f'"interval_begin":"{iso(it.open_ms)}","interval":{minutes},"timestamp":"{iso(it.close_ms)}"'
        return f'{{"symbol":"{self.symbol}",{prices},{sums},{times}}}'


def vwap(tape: Tape, it: Candle) -> str:
    """A candle's mean price by volume, to two decimals more than its prices have; 0 where nothing was traded."""
    if not it.volume:
        return "0.0"
    return f"{it.value / it.volume * tape.listing.tick_size:.{tape.listing.price_decimals + 2}f}"
