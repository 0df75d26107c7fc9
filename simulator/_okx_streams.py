"""OKX's WebSocket payloads, and the feeds that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from simulator import _derivatives as derivatives
from simulator._book import SLOT_MS, Book, Levels, changes, update_id
from simulator._candles import Candle, candle, floor, following, preceding
from simulator._forced import Forced, forced
from simulator._tape import Tape
from simulator._text import Texts, decimal, writer
from simulator._venue import Feed, Message, Slice

BOOK_DEPTH = 400
LOT_DECIMALS = 1
"""Linear contracts trade by the tenth."""
_SIDES = ("buy", "sell")
BARS = {"1s": "1s", "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h",
        "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d", "3Dutc": "3d", "1Wutc": "1w", "1Mutc": "1M"}  # fmt: skip
"""OKX's words for intervals whose candles are UTC's; of others, days begin in Hong Kong."""


class Instrument:
    """One tape in OKX's words. Sizes of spot are base units, of contracts contracts."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.listing = tape, tape.listing
        self.symbol, self.contract = tape.listing.symbol, tape.listing.perpetual
        texts = Texts(tape.listing)
        self.price, self.value = texts.price, texts.value
        lot_decimals = 0 if tape.listing.inverse else LOT_DECIMALS
        self.size = writer(1, lot_decimals) if self.contract else texts.quantity
        self.base = texts.quantity
        self.book = Book(tape)

    @property
    def market(self) -> str:
        """``SPOT`` or ``SWAP``."""
        return "SWAP" if self.contract else "SPOT"

    @property
    def contract_value(self) -> str:
        """Base units (inverse: dollars) of one contract."""
        if not self.contract:
            return ""
        steps = 1 if self.listing.inverse else 10**LOT_DECIMALS
        return decimal(steps * self.listing.step, self.listing.quantity_decimals)

    def trades(self, key: str) -> Feed:
        """``trades-all``: one message a fill."""
        symbol, price, size = self.symbol, self.price, self.size
        head = f'{{"arg":{{"channel":"trades-all","instId":"{symbol}"}},"data":[{{"instId":"{symbol}",'

        def encode(due: Slice, _: int) -> list[Message]:
            made = []
            for place, (time, ticks, steps, maker, _) in enumerate(due.minute.rows[due.first : due.last], due.first):
                name = due.minute.first_id + place
                what = f'"tradeId":"{name}","px":"{price(ticks)}","sz":"{size(steps)}","side":"{_SIDES[maker]}"'
                made.append(Message(f'{head}{what},"ts":"{time}","source":"0"}}]}}'.encode(), name, name))
            return made

        return Feed(key, "trades", symbol, self.tape, on_trades=encode)

    def trade(self, name: int, row: tuple[int, int, int, bool, bool]) -> dict[str, str]:
        """A row of REST's trades."""
        time, ticks, steps, maker, _ = row
        return {
            "instId": self.symbol, "tradeId": str(name), "px": self.price(ticks), "sz": self.size(steps),
            "side": _SIDES[maker], "ts": str(time), "source": "0",
        }  # fmt: skip

    # --- books -------------------------------------------------------------------------------------------------
    def levels(self, side: Levels) -> list[list[str]]:
        """``[["price","size","0","orders"],…]``."""
        return [[self.price(ticks), self.size(steps), "0", "1"] for ticks, steps in side]

    def tops(self, key: str) -> Feed:
        """``books5``: the whole top, every time."""

        def encode(slot: int) -> list[Message]:
            bids, asks = self.book.at(slot, 5)
            return [Message(pushed("books5", self.symbol, [self._depth(slot, bids, asks)]))]

        return Feed(key, "books", self.symbol, self.tape, SLOT_MS, on_slot=encode)

    def books(self, key: str, now_ms: int) -> tuple[bytes, Feed]:
        """``books``: the snapshot, and the changes chained to it. A feed serves the one who got its snapshot."""
        before = now_ms // SLOT_MS * SLOT_MS
        known = self.book.at(before, BOOK_DEPTH)
        first = {**self._depth(before, *known), "prevSeqId": -1}

        def encode(slot: int) -> list[Message]:
            nonlocal before, known
            new = self.book.at(slot, BOOK_DEPTH)
            bids, asks = changes(known[0], new[0])[::-1], changes(known[1], new[1])
            data = {**self._depth(slot, bids, asks), "prevSeqId": update_id(before)}
            before, known = slot, new
            return [Message(pushed("books", self.symbol, [data], "update"))]

        feed = Feed(key, "books", self.symbol, self.tape, SLOT_MS, before, on_slot=encode)
        return pushed("books", self.symbol, [first], "snapshot"), feed

    def _depth(self, slot: int, bids: Levels, asks: Levels) -> dict[str, Any]:
        sides = {"asks": self.levels(asks), "bids": self.levels(bids)}
        return {**sides, "ts": str(slot), "checksum": 0, "seqId": update_id(slot)}

    # --- candles -----------------------------------------------------------------------------------------------
    def candles(self, key: str, channel: str) -> Feed:
        """``candle1m``: every two seconds, and once more when it is over (``confirm``)."""
        interval = BARS[channel.removeprefix("candle")]

        def encode(slot: int) -> list[Message]:
            closes = floor(interval, slot) == slot
            open_ms = preceding(interval, slot) if closes else floor(interval, slot)
            made = candle(self.tape, open_ms, following(interval, open_ms), slot - 1)
            return [] if made is None else [Message(pushed(channel, self.symbol, [self.row(made, closes)]))]

        every_ms = 1_000 if interval == "1s" else 2_000
        return Feed(key, "klines", self.symbol, self.tape, every_ms, on_slot=encode)

    def row(self, made: Candle, closed: bool) -> list[str]:
        """Of spot: base, quote, quote. Of contracts: contracts, base, quote."""
        prices = [self.price(ticks) for ticks in (made.open, made.high, made.low, made.close)]
        value = self.value(made.value)
        sums = [self.base(made.volume), value, value]
        if self.listing.inverse:
            dollars = made.volume * self.listing.step_size
            coins = dollars / (made.value / made.volume * self.listing.tick_size) if made.volume else 0.0
            sums = [self.size(made.volume), f"{coins:.8f}", self.base(made.volume)]
        elif self.contract:
            sums = [self.size(made.volume), self.base(made.volume), value]
        return [str(made.open_ms), *prices, *sums, "1" if closed else "0"]

    # --- derivatives -------------------------------------------------------------------------------------------
    def funding_rate(self, now_ms: int) -> dict[str, str]:
        """Of the period that ends at ``fundingTime``."""
        end = derivatives.next_funding(self.tape, now_ms)
        period = derivatives.funding_hours(self.tape) * derivatives.HOUR_MS
        return {
            "instId": self.symbol, "instType": self.market, "method": "current_period", "formulaType": "withRate",
            "fundingRate": f"{derivatives.predicted_rate(self.tape, now_ms):.8f}", "fundingTime": str(end),
            "nextFundingRate": "", "nextFundingTime": str(end + period), "prevFundingTime": str(end - period),
            "settFundingRate": f"{derivatives.funding_rate(self.tape, end - period):.8f}", "settState": "settled",
            "ts": str(now_ms),
        }  # fmt: skip

    def mark(self, now_ms: int) -> dict[str, str]:
        """Of ``mark-price``."""
        price = f"{derivatives.mark_price(self.tape, now_ms):.8f}"
        return {"instId": self.symbol, "instType": self.market, "markPx": price, "ts": str(now_ms)}

    def interest(self, now_ms: int) -> dict[str, str]:
        """Open interest in contracts, in the coin, in dollars."""
        steps = derivatives.open_interest(self.tape, now_ms)
        mark, units = derivatives.mark_price(self.tape, now_ms), steps * self.listing.step_size
        coins, dollars = (units / mark, units) if self.listing.inverse else (units, units * mark)
        return {
            "instId": self.symbol, "instType": self.market, "oi": self.size(steps),
            "oiCcy": f"{coins:.8f}" if self.listing.inverse else self.base(steps), "oiUsd": f"{dollars:.4f}",
            "ts": str(now_ms),
        }  # fmt: skip

    def liquidation(self, order: Forced) -> dict[str, str]:
        """``posSide`` is the position, ``side`` the order that closed it."""
        return {
            "bkLoss": "0", "bkPx": self.price(order.bankrupt), "ccy": "", "posSide": "long" if order.sells else "short",
            "side": "sell" if order.sells else "buy", "sz": self.size(order.steps), "ts": str(order.time_ms),
        }  # fmt: skip

    def state(self, key: str, channel: str, now_ms: int) -> tuple[bytes, Feed]:
        """The channels that say how things stand: now, and again and again."""
        said = {"funding-rate": self.funding_rate, "mark-price": self.mark, "open-interest": self.interest}[channel]
        every_ms, word = {"funding-rate": (30_000, "funding"), "mark-price": (1_000, "funding"),
                          "open-interest": (3_000, "open_interest")}[channel]  # fmt: skip
        feed = Feed(key, word, self.symbol, every_ms=every_ms,
                    on_slot=lambda slot: [Message(pushed(channel, self.symbol, [said(slot)]))])  # fmt: skip
        return pushed(channel, self.symbol, [said(now_ms)]), feed


def index_feed(key: str, name: str, instrument: Instrument) -> Feed:
    """``index-tickers`` of ``BTC-USDT``: the coin's price, whoever trades it."""

    def encode(slot: int) -> list[Message]:
        price = f"{derivatives.index_price(instrument.tape, slot):.8f}"
        return [Message(pushed("index-tickers", name, [{"instId": name, "idxPx": price, "ts": str(slot)}]))]

    return Feed(key, "funding", instrument.symbol, every_ms=1_000, on_slot=encode)


def liquidation_feed(key: str, market: str, instruments: Sequence[Instrument]) -> Feed:
    """``liquidation-orders`` of a whole market: of each contract the last one of every second."""

    def encode(slot: int) -> list[Message]:
        made = []
        for its in instruments:
            if orders := forced(its.tape, slot - 1_000, slot):
                about = {"instId": its.symbol, "instType": market, "instFamily": its.symbol.removesuffix("-SWAP")}
                data = [{**about, "uly": about["instFamily"], "details": [its.liquidation(orders[-1])]}]
                made.append(
                    Message(_json({"arg": {"channel": "liquidation-orders", "instType": market}, "data": data}))
                )
        return made

    return Feed(key, "liquidations", every_ms=1_000, on_slot=encode)


def pushed(channel: str, symbol: str, data: list[Any], action: str = "") -> bytes:
    head: dict[str, Any] = {"arg": {"channel": channel, "instId": symbol}}
    return _json({**head, **({"action": action} if action else {}), "data": data})


def _json(body: Any) -> bytes:
    return msgspec.json.encode(body)
