"""Binance's stream payloads, spot and futures, and the feeds that carry them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator._book import SLOT_MS, Book, Levels, changes, update_id
from simulator._candles import Candle, candle, floor, following, preceding
from simulator._tape import Minute, Tape
from simulator._text import Texts, decimal, writer
from simulator._venue import Feed, Message, Slice

BOOK_DEPTH_MAX = 1_000
LEVELS_KEPT = 10_000
_FLAGS = ("false", "true")
_SPEEDS = {"": 1_000, "0ms": SLOT_MS, "100ms": SLOT_MS, "250ms": 250, "500ms": 500}


@dataclass(frozen=True)
class Envelope:
    """``{"stream":…,"data":…}`` on combined streams, nothing on raw ones; ``us`` is ``timeUnit=MICROSECOND``."""

    combined: bool
    us: bool

    def key(self, stream: str) -> str:
        """What tells this stream's messages from those of other envelopes."""
        return f"{stream} {self.combined:d}{self.us:d}"

    def around(self, stream: str) -> tuple[str, str]:
        """What comes before and after the data."""
        return (f'{{"stream":"{stream}","data":', "}") if self.combined else ("", "")

    @property
    def zeros(self) -> str:
        """What turns a text of milliseconds into the asked unit."""
        return "000" if self.us else ""


class Instrument:
    """One tape in Binance's words. Spot writes eight decimals everywhere, futures what the instrument has."""

    def __init__(self, tape: Tape, futures: bool) -> None:
        self.tape, self.futures = tape, futures
        self.symbol = tape.listing.symbol
        self.texts = Texts(tape.listing, None if futures else 8)
        self.book = Book(tape)
        self.inverse = tape.listing.inverse
        if self.inverse:  # by the contract, which is one step of dollars
            self.texts.quantity = writer(1, 0)
        self._levels: dict[tuple[int, int], str] = {}  # most of a book is as it was 100 ms ago

    def worth(self, steps: int, value: int) -> str:
        """The other sum of a candle: quote units; of contracts settled in their coin, coins at the average price."""
        if not self.inverse:
            return self.texts.value(value)
        listing = self.tape.listing
        coins = steps * listing.step_size * steps / (value * listing.tick_size) if value else 0.0
        return decimal(round(coins * 10**8), 8)

    def levels(self, side: Levels) -> str:
        """``[["price","quantity"],…]``."""
        known = self._levels
        if len(known) > LEVELS_KEPT:
            known.clear()
        return "[" + ",".join([known.get(level) or self._level(level) for level in side]) + "]"

    def _level(self, level: tuple[int, int]) -> str:
        text = f'["{self.texts.price(level[0])}","{self.texts.quantity(level[1])}"]'
        self._levels[level] = text
        return text

    def trades(self, stream: str, envelope: Envelope) -> Feed:
        """``@trade``: one message a fill."""
        before, after = envelope.around(stream)
        zeros, symbol, price, quantity = envelope.zeros, self.symbol, self.texts.price, self.texts.quantity
        futures = self.futures

        def encode(due: Slice, now: int) -> list[Message]:
            head = f'{before}{{"e":"trade","E":{now}{zeros},'
            made = []
            for place, (time, ticks, steps, maker, _) in enumerate(due.minute.rows[due.first : due.last], due.first):
                name = due.minute.first_id + place
                what = f'"s":"{symbol}","t":{name},"p":"{price(ticks)}","q":"{quantity(steps)}"'
                if futures:
                    body = f'{head}"T":{time}{zeros},{what},"X":"MARKET","m":{_FLAGS[maker]}}}{after}'
                else:
                    body = f'{head}{what},"T":{time}{zeros},"m":{_FLAGS[maker]},"M":true}}{after}'
                made.append(Message(body.encode(), name, name))
            return made

        return self._feed(stream, envelope, "trades", encode)

    def aggregates(self, stream: str, envelope: Envelope) -> Feed:
        """``@aggTrade``: one message for the fills of one taker order at one price."""
        before, after = envelope.around(stream)
        zeros, futures = envelope.zeros, self.futures

        def encode(due: Slice, now: int) -> list[Message]:
            head = f'{before}{{"e":"aggTrade","E":{now}{zeros},'
            made = []
            for name, price, quantity, first, last, time, maker in self.merged(due.minute, due.first, due.last):
                rest = f'"f":{first},"l":{last},"T":{time}{zeros},"m":{_FLAGS[maker]}'
                if futures:
                    what = f'"a":{name},"s":"{self.symbol}","p":"{price}","q":"{quantity}","nq":"{quantity}"'
                    body = f'{head}{what},{rest},"st":1}}{after}'
                else:
                    body = (
                        f'{head}"s":"{self.symbol}","a":{name},"p":"{price}","q":"{quantity}",{rest},"M":true}}{after}'
                    )
                made.append(Message(body.encode(), name, name))
            return made

        return self._feed(stream, envelope, "trades", encode)

    def merged(self, minute: Minute, first: int, last: int) -> list[tuple[int, str, str, int, int, int, bool]]:
        """Aggregates of the fills ``first`` to before ``last``: id, price, quantity, first fill, last, time, maker."""
        starts, sums, rows = minute.starts, minute.sums, minute.rows
        made = []
        for place in range(bisect_left(starts, first), bisect_left(starts, last)):
            time, ticks, _, maker, _ = rows[starts[place]]
            price, quantity = self.texts.price(ticks), self.texts.quantity(sums[place])
            fills = (minute.first_id + starts[place], minute.first_id + starts[place + 1] - 1)
            made.append((minute.first_aggregate + place, price, quantity, *fills, time, maker))
        return made

    def depth(self, stream: str, envelope: Envelope, levels: int, speed: str) -> Feed:
        """``@depth20@100ms``: the whole top; spot's has neither symbol nor time."""
        before, after = envelope.around(stream)
        every = _SPEEDS[speed] if speed or not self.futures else 250

        def encode(slot: int) -> list[Message]:
            bids, asks = self.book.at(slot, levels)
            if not self.futures:
                data = f'{{"lastUpdateId":{update_id(slot)},"bids":{self.levels(bids)},"asks":{self.levels(asks)}}}'
            else:
                data = self._update(slot, every, bids, asks, envelope.zeros)
            return [Message(f"{before}{data}{after}".encode())]

        return self._slots(stream, envelope, "books", every, encode)

    def difference(self, stream: str, envelope: Envelope, speed: str) -> Feed:
        """``@depth@100ms``: what changed."""
        before, after = envelope.around(stream)
        every = _SPEEDS[speed] if speed or not self.futures else 250

        def encode(slot: int) -> list[Message]:
            old, new = self.book.at(slot - every, BOOK_DEPTH_MAX), self.book.at(slot, BOOK_DEPTH_MAX)
            bids, asks = changes(old[0], new[0])[::-1], changes(old[1], new[1])
            return [Message(f"{before}{self._update(slot, every, bids, asks, envelope.zeros)}{after}".encode())]

        return self._slots(stream, envelope, "books", every, encode)

    def _update(self, slot: int, every: int, bids: Levels, asks: Levels, zeros: str) -> str:
        last, previous = update_id(slot), update_id(slot - every)
        sides = f'"b":{self.levels(bids)},"a":{self.levels(asks)}'
        if not self.futures:
            ids = f'"s":"{self.symbol}","U":{previous + 1},"u":{last}'
            return f'{{"e":"depthUpdate","E":{slot}{zeros},{ids},{sides}}}'
        # A futures chain holds by pu: U is not the id after the previous u.
        ids = f'"s":"{self.symbol}","ps":"{self.symbol}","U":{previous + 7},"u":{last},"pu":{previous}'
        return f'{{"e":"depthUpdate","E":{slot}{zeros},"T":{slot}{zeros},{ids},{sides},"st":1}}'

    def ticker(self, stream: str, envelope: Envelope) -> Feed:
        """``@bookTicker``: the best prices after what has just traded."""
        before, after = envelope.around(stream)
        price, quantity = self.texts.price, self.texts.quantity

        def encode(due: Slice, now: int) -> list[Message]:
            time, slot = due.minute.times[due.last - 1], now // SLOT_MS
            bid, ask = self.book.best(time)
            bids = f'"b":"{price(bid)}","B":"{quantity(self.book.quantity(bid, slot))}"'
            asks = f'"a":"{price(ask)}","A":"{quantity(self.book.quantity(ask, slot))}"'
            what = f'"u":{time * 10},"s":"{self.symbol}",{bids},{asks}'
            zeros = envelope.zeros
            data = f'"e":"bookTicker",{what},"T":{time}{zeros},"E":{now}{zeros}' if self.futures else what
            return [Message(f"{before}{{{data}}}{after}".encode())]

        return self._feed(stream, envelope, "", encode)

    def klines(self, stream: str, envelope: Envelope, interval: str) -> Feed:
        """``@kline_1m``: every two seconds, and once more when it closes (``x``)."""
        before, after = envelope.around(stream)

        def encode(slot: int) -> list[Message]:
            closes = floor(interval, slot) == slot
            open_ms = preceding(interval, slot) if closes else floor(interval, slot)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            if made is None:
                return []
            data = self.kline(made, interval, slot, closes, envelope.zeros)
            return [Message(f"{before}{data}{after}".encode())]

        return self._slots(stream, envelope, "klines", 1_000 if interval == "1s" else 2_000, encode)

    def kline(self, made: Candle, interval: str, now: int, closed: bool, zeros: str) -> str:
        """The payload of a kline stream."""
        price, quantity = self.texts.price, self.texts.quantity
        times = f'"t":{made.open_ms}{zeros},"T":{made.close_ms - 1}{"999" if zeros else ""}'
        prices = f'"o":"{price(made.open)}","c":"{price(made.close)}","h":"{price(made.high)}","l":"{price(made.low)}"'
        worth, bought_worth = self.worth(made.volume, made.value), self.worth(made.buy_volume, made.buy_value)
        sums = f'"v":"{quantity(made.volume)}","n":{made.trades},"x":{_FLAGS[closed]},"q":"{worth}"'
        bought = f'"V":"{quantity(made.buy_volume)}","Q":"{bought_worth}","B":"0"'
        first, last = (made.first_id, made.last_id) if made.trades else (-1, -1)
        names = f'"s":"{self.symbol}","i":"{interval}","f":{first},"L":{last}'
        candle_text = f"{{{times},{names},{prices},{sums},{bought}}}"
        return f'{{"e":"kline","E":{now}{zeros},"s":"{self.symbol}","k":{candle_text}}}'

    def _feed(
        self, stream: str, envelope: Envelope, channel: str, encode: Callable[[Slice, int], Sequence[Message]]
    ) -> Feed:
        return Feed(envelope.key(stream), channel, self.symbol, self.tape, on_trades=encode)

    def _slots(
        self, stream: str, envelope: Envelope, channel: str, every: int, encode: Callable[[int], Sequence[Message]]
    ) -> Feed:
        return Feed(envelope.key(stream), channel, self.symbol, self.tape, every, on_slot=encode)
