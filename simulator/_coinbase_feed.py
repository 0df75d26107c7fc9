"""Coinbase Exchange's messages, and the feeds that carry them. ``side`` of a match is the maker's, as there."""

from __future__ import annotations

from schemas import time
from simulator._book import SLOT_MS, Book, Levels, changes
from simulator._candles import id_at
from simulator._tape import START, Tape
from simulator._text import Texts
from simulator._venue import Feed, Message, Slice

_DEPTH = 100
"""Levels of the book, a side. The real one has tens of thousands."""
SIDES = ("sell", "buy")
"""The maker's, by whether the buyer was the maker."""


def iso(ms: int) -> str:
    """``2026-11-22T00:00:00.123000Z``."""
    return time.iso(ms * 1_000)


class Product:
    """One tape in Coinbase's words."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.id = tape, tape.listing.symbol
        self.texts, self.book = Texts(tape.listing), Book(tape)

    def match(self, word: str, name: int, row: tuple[int, int, int, bool, bool]) -> bytes:
        """``match`` or ``last_match``."""
        at, ticks, steps, maker, _ = row
        orders = f'"maker_order_id":"{name:032x}","taker_order_id":"{~name & 0xFFFFFFFF:032x}"'
        size, price = self.texts.quantity(steps), self.texts.price(ticks)
        what = f'"side":"{SIDES[maker]}","size":"{size}","price":"{price}","product_id":"{self.id}"'
        return (
            f'{{"type":"{word}","trade_id":{name},{orders},{what},"sequence":{name * 7},"time":"{iso(at)}"}}'.encode()
        )

    def last_match(self, now_ms: int) -> bytes:
        """What comes first after subscribing: the trade before."""
        name = id_at(self.tape, now_ms)
        columns = self.tape.minute(START + (name - 1) // self.tape.fills)
        return self.match("last_match", name, columns.rows[name - columns.first_id])

    def matches(self, now_ms: int) -> Feed:
        """One message a fill."""

        def encode(due: Slice, _: int) -> list[Message]:
            rows = enumerate(due.minute.rows[due.first : due.last], due.minute.first_id + due.first)
            return [Message(self.match("match", name, row), name, name) for name, row in rows]

        return Feed(f"matches:{self.id}", "trades", self.id, self.tape, since_ms=now_ms, on_trades=encode)

    def heartbeat(self, _: int) -> Feed:
        """Once a second the last trade's id."""

        def encode(slot: int) -> list[Message]:
            name = id_at(self.tape, slot)
            what = f'"last_trade_id":{name},"product_id":"{self.id}","sequence":{name * 7},"time":"{iso(slot)}"'
            return [Message(f'{{"type":"heartbeat",{what}}}'.encode())]

        return Feed(f"heartbeat:{self.id}", "heartbeat", self.id, every_ms=1_000, on_slot=encode)

    def snapshot(self, slot: int) -> bytes:
        """The whole book."""
        bids, asks = self.book.at(slot, _DEPTH)
        sides = f'"bids":{self.levels(bids)},"asks":{self.levels(asks)}'
        return f'{{"type":"snapshot","product_id":"{self.id}",{sides},"time":"{iso(slot)}"}}'.encode()

    def levels(self, side: Levels) -> str:
        """``[["price","size"],…]``."""
        return "[" + ",".join(f'["{self.texts.price(t)}","{self.texts.quantity(s)}"]' for t, s in side) + "]"

    def updates(self, now_ms: int) -> Feed:
        """What changed."""

        def encode(slot: int) -> list[Message]:
            old, new = self.book.at(slot - SLOT_MS, _DEPTH), self.book.at(slot, _DEPTH)
            moved = [
                f'["{side}","{self.texts.price(ticks)}","{self.texts.quantity(steps)}"]'
                for side, before, after in (("buy", old[0], new[0]), ("sell", old[1], new[1]))
                for ticks, steps in changes(before, after)
            ]
            what = f'"product_id":"{self.id}","changes":[{",".join(moved)}],"time":"{iso(slot)}"'
            return [Message(f'{{"type":"l2update",{what}}}'.encode())] if moved else []

        since = now_ms // SLOT_MS * SLOT_MS
        return Feed(f"level2_batch:{self.id}", "books", self.id, None, SLOT_MS, since, on_slot=encode)
