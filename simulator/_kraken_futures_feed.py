"""Kraken Futures' messages, and the feeds that carry them. Sizes are contracts; times are milliseconds."""

from __future__ import annotations

from simulator import _derivatives as derivatives
from simulator._book import SLOT_MS, Book, changes
from simulator._candles import id_at
from simulator._tape import START, Tape
from simulator._text import Texts
from simulator._venue import Feed, Message, Slice

REPLAYED = 100
"""Trades that a subscription begins with."""
_DEPTH = 50
"""Levels of the book, a side. The real one is whole."""
_IDLE_MS = 1_000


class Product:
    """One tape in Kraken Futures' words."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.id = tape, tape.listing.symbol
        self.texts, self.book = Texts(tape.listing), Book(tape)
        self._slot = 0
        self._seq = 1_000_000

    # --- trades ------------------------------------------------------------------------------------------------
    def trade(self, name: int, row: tuple[int, int, int, bool, bool]) -> str:
        """One fill; forced ones are of type liquidation."""
        at, ticks, steps, maker, forced = row
        sides = f'"side":"{"sell" if maker else "buy"}","type":"{"liquidation" if forced else "fill"}"'
        what = f'"seq":{name},"time":{at},"qty":{self.texts.quantity(steps)},"price":{self.texts.price(ticks)}'
        return f'{{"feed":"trade","product_id":"{self.id}","uid":"{uid(name)}",{sides},{what}}}'

    def fills(self, first: int, last: int) -> list[str]:
        """The trades ``first`` to ``last``."""
        per, found = self.tape.fills, []
        for _, columns in self.tape.minutes(START + (first - 1) // per, START + (last - 1) // per):
            rows = enumerate(columns.rows, columns.first_id)
            found += [self.trade(name, row) for name, row in rows if first <= name <= last]
        return found

    def replay(self, now_ms: int) -> bytes:
        """The last trades, newest first."""
        last = id_at(self.tape, now_ms)
        fills = ",".join(reversed(self.fills(max(1, last - REPLAYED + 1), last)))
        return f'{{"feed":"trade_snapshot","product_id":"{self.id}","trades":[{fills}]}}'.encode()

    def trades(self, now_ms: int) -> Feed:
        """One message a fill."""

        def encode(due: Slice, _: int) -> list[Message]:
            rows = enumerate(due.minute.rows[due.first : due.last], due.minute.first_id + due.first)
            return [Message(self.trade(name, row).encode(), name, name) for name, row in rows]

        return Feed(f"trade {self.id}", "trades", self.id, self.tape, since_ms=now_ms, on_trades=encode)

    # --- book --------------------------------------------------------------------------------------------------
    def snapshot(self, now_ms: int) -> bytes:
        """The book as of what its feed has sent last, or now where nobody is subscribed."""
        if self._slot < now_ms - _IDLE_MS:
            self._slot = now_ms // SLOT_MS * SLOT_MS
        bids, asks = (
            ",".join(f'{{"price":{self.texts.price(t)},"qty":{self.texts.quantity(s)}}}' for t, s in side)
            for side in self.book.at(self._slot, _DEPTH)
        )
        head = f'"timestamp":{self._slot},"seq":{self._seq},"tickSize":null'
        body = f'{{"feed":"book_snapshot","product_id":"{self.id}",{head},"bids":[{bids}],"asks":[{asks}]}}'
        return body.encode()

    def updates(self, _: int) -> Feed:
        """One message a level; takers first, so that the book never crosses on the way."""

        def encode(slot: int) -> list[Message]:
            old, new = self.book.at(slot - SLOT_MS, _DEPTH), self.book.at(slot, _DEPTH)
            moved = [
                (side, level) for side, place in (("buy", 0), ("sell", 1)) for level in changes(old[place], new[place])
            ]
            moved.sort(key=lambda move: move[1][1] > 0)
            self._slot = slot
            return [Message(self._change(slot, side, *level)) for side, level in moved]

        return Feed(f"book {self.id}", "books", self.id, None, SLOT_MS, self._slot, on_slot=encode)

    def _change(self, slot: int, side: str, ticks: int, steps: int) -> bytes:
        self._seq += 1
        what = f'"price":{self.texts.price(ticks)},"qty":{self.texts.quantity(steps)},"timestamp":{slot}'
        return f'{{"feed":"book","product_id":"{self.id}","side":"{side}","seq":{self._seq},{what}}}'.encode()

    # --- ticker ------------------------------------------------------------------------------------------------
    def tickers(self, _: int) -> Feed:
        """Once a second."""
        return Feed(f"ticker {self.id}", "funding", self.id, None, 1_000, on_slot=lambda slot: [self.ticker(slot)])

    def ticker(self, slot: int) -> Message:
        """Marks, open interest in contracts, and the rate of the hour, as money a contract and as a rate."""
        ends, mark = derivatives.next_funding(self.tape, slot), derivatives.mark_price(self.tape, slot)
        rate = derivatives.funding_rate(self.tape, ends)
        rates = f'"funding_rate":{rate * mark!r},"relative_funding_rate":{rate!r},"next_funding_rate_time":{ends}'
        held = self.texts.quantity(derivatives.open_interest(self.tape, slot))
        marks = f'"index":{derivatives.index_price(self.tape, slot)!r},"markPrice":{mark!r},"openInterest":{held}'
        head = f'"time":{slot},"product_id":"{self.id}",{rates},"feed":"ticker",{marks}'
        return Message(f'{{{head},"suspended":false,"tag":"perpetual","maturityTime":0}}'.encode())


def uid(name: int) -> str:
    """A UUID that ends in the trade's number."""
    return f"5eed0000-0000-4000-8000-{name:012x}"
