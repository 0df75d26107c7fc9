"""Binance's streams that only its futures have: mark price and forced orders."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby

from simulator import _derivatives as derivatives
from simulator._binance_streams import Envelope, Instrument
from simulator._tape import MINUTE_MS
from simulator._text import decimal
from simulator._venue import Feed, Message

_DECIMALS = 8


def mark(instrument: Instrument, slot: int) -> str:
    """The payload of a mark price stream. At the moment of settlement it still names that settlement."""
    tape = instrument.tape
    price = _text(derivatives.mark_price(tape, slot))
    prices = f'"p":"{price}","ap":"{price}","P":"{price}","i":"{_text(derivatives.index_price(tape, slot))}"'
    ends = f'"r":"{_text(derivatives.predicted_rate(tape, slot))}","T":{derivatives.next_funding(tape, slot)}'
    return f'{{"e":"markPriceUpdate","E":{slot},"s":"{instrument.symbol}",{prices},{ends},"st":1}}'


def mark_feed(stream: str, envelope: Envelope, instruments: Sequence[Instrument], every_ms: int) -> Feed:
    """``btcusdt@markPrice@1s`` or, for all at once, ``!markPrice@arr@1s``."""
    before, after = envelope.around(stream)
    everyone = stream.startswith("!")

    def encode(slot: int) -> list[Message]:
        texts = ",".join([mark(instrument, slot) for instrument in instruments])
        return [Message(f"{before}[{texts}]{after}".encode() if everyone else f"{before}{texts}{after}".encode())]

    symbol = "" if everyone else instruments[0].symbol
    return Feed(envelope.key(stream), "funding", symbol, every_ms=every_ms, on_slot=encode)


def forced_feed(stream: str, envelope: Envelope, instruments: Sequence[Instrument]) -> Feed:
    """``btcusdt@forceOrder`` or ``!forceOrder@arr``: of each symbol only the last one of every second."""
    before, after = envelope.around(stream)

    def encode(slot: int) -> list[Message]:
        found = [(instrument, forced(instrument, slot - 1_000, slot)) for instrument in instruments]
        return [
            Message(f'{before}{{"e":"forceOrder","E":{slot},"o":{orders[-1]}}}{after}'.encode())
            for _, orders in found
            if orders
        ]

    symbol = "" if stream.startswith("!") else instruments[0].symbol
    return Feed(envelope.key(stream), "liquidations", symbol, every_ms=1_000, on_slot=encode)


def forced(instrument: Instrument, after_ms: int, until_ms: int) -> list[str]:
    """Every forced order after ``after_ms`` and up to ``until_ms``: fills of one side and time are one order."""
    orders = []
    for minute in range((after_ms + 1) // MINUTE_MS, until_ms // MINUTE_MS + 1):
        columns = instrument.tape.minute(minute)
        first, last = bisect_right(columns.times, after_ms), bisect_right(columns.times, until_ms)
        rows = [row for row in columns.rows[first:last] if row[4]]
        for (time, maker), fills in groupby(rows, key=lambda row: (row[0], row[3])):
            orders.append(_order(instrument, time, maker, [(ticks, steps) for _, ticks, steps, _, _ in fills]))
    return orders


def _order(instrument: Instrument, time: int, sells: bool, fills: list[tuple[int, int]]) -> str:
    """``p`` is where the position would have been bankrupt, ``ap`` what was really paid; ``l`` the last fill only."""
    listing, texts = instrument.tape.listing, instrument.texts
    steps = sum(steps for _, steps in fills)
    moment = sum(ticks * steps for ticks, steps in fills)
    average = decimal((2 * moment * listing.tick + steps) // (2 * steps), listing.price_decimals)
    worst = max(1, round(fills[-1][0] * (0.986 if sells else 1.014)))
    total = texts.quantity(steps)
    return (
        f'{{"s":"{instrument.symbol}","S":"{"SELL" if sells else "BUY"}","o":"LIMIT","f":"IOC","q":"{total}",'
        f'"p":"{texts.price(worst)}","ap":"{average}","X":"FILLED","l":"{texts.quantity(fills[-1][1])}",'
        f'"z":"{total}","T":{time},"ps":"{instrument.symbol}","st":1}}'
    )


def _text(number: float) -> str:
    return decimal(round(number * 10**_DECIMALS), _DECIMALS)
