"""Kraken spot, WebSocket v2.

``side`` is the taker's. Prices are JSON numbers, whose digits the book's checksum is made of. Candles carry no closed
flag: one is closed as soon as the next begins. Field semantics: docs/exchanges.md#kraken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from producers import _kraken_past as past
from producers import _kraken_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    History,
    Limits,
    Options,
    Request,
    Rest,
    ServerTime,
    Setup,
    SubscriptionRejected,
    Topic,
)  # fmt: skip
from producers._feeds import UnknownSymbol
from producers._forming import Candle, Forming
from producers._ladder import suspects
from producers._session import NAME_MAX, BaseSession
from schemas import time
from schemas.events import Event, Trade

_SOCKET, _REST = "wss://ws.kraken.com/v2", past.REST
_CHANNEL = b'{"channel":"'
_PAIR = re.compile(rb'"symbol":\s*"([^"\\]{1,64})"')
_KINDS = {"trade": "trade", "book": "book", "ohlc": "kline"}
_DEPTHS = (10, 25, 100, 500, 1000)
# Kraken's weeks begin on Thursday: they are none of ours.
_INTERVALS = {minutes: word for word, minutes in past.MINUTES.items()}
_ASKED_MAX = 1_000


class Session(BaseSession):
    """A connection. Topics are ``<channel>[-<depth or minutes>]:<pair>``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._asked: dict[int, tuple[str, ...]] = {}
        self._requests = 0
        self._depth = next((depth for depth in _DEPTHS if depth >= self.options.book_depth), _DEPTHS[-1])
        self._books: dict[str, wire.Checked] = {}
        self._forming = Forming()

    def subscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("unsubscribe", topics)

    def _ask(self, method: str, topics: Sequence[str]) -> bytes:
        self._requests += 1
        self._asked[self._requests] = tuple(topics) if method == "subscribe" else ()
        self._asked.pop(self._requests - _ASKED_MAX, None)
        channel, _, number = topics[0].partition(":")[0].partition("-")
        params: dict[str, Any] = {"channel": channel, "symbol": [topic.partition(":")[2] for topic in topics]}
        if number:
            params["depth" if channel == "book" else "interval"] = int(number)
        if method == "subscribe":
            params["snapshot"] = True  # it fills what a reconnect has missed
        return msgspec.json.encode({"method": method, "params": params, "req_id": self._requests})

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        channel = raw[12 : raw.find(b'"', 12)].decode() if raw.startswith(_CHANNEL) else ""
        try:
            if channel not in _KINDS:
                channel = self._control(raw)
            match channel:
                case "trade":
                    return self._trades(wire.decode_trades(raw), received)
                case "book":
                    return self._depths(wire.decode_books(raw), received)
                case "ohlc":
                    return self._candles(wire.decode_candles(raw), received)
        except (FrameError, msgspec.MsgspecError, UnknownSymbol) as error:
            if channel not in ("trade", "ohlc"):
                self._suspect(raw, received)
            raise FrameError(str(error)[:NAME_MAX], raw, _KINDS.get(channel, "frame")) from error
        return ()

    def _suspect(self, raw: bytes, received: int) -> None:
        """A message of a book could not be read, and the checksum would notice only if it was about the best levels."""
        for name in suspects(raw, _PAIR, self._books):
            feed = self.feeds.channel("books")[name]
            self._books[name].ladder.lost(self, feed, f"book-{self._depth}:{name}", received)

    def _control(self, raw: bytes) -> str:
        """Answers to requests; returns the channel of anything else, whose keys may stand in any order."""
        if raw.startswith(b"["):  # version 1, whose trades have no id
            msgspec.json.decode(raw)
            return ""
        head = wire.decode_head(raw)
        if head.method and not head.success:
            self._refused(head)
        return head.channel

    def _refused(self, head: wire.Head) -> None:
        """One pair's answer names it; an answer that names none fails the whole request."""
        asked = self._asked.get(head.req_id, ())
        guilty = [topic for topic in asked if topic.partition(":")[2] == head.symbol] or asked
        if not guilty:
            raise FrameError(f"the exchange says: {head.error}"[:NAME_MAX])
        symbol = self.feeds.directory.of(guilty[0].partition(":")[2]).symbol if len(guilty) == 1 else ""
        raise SubscriptionRejected(head.error[:NAME_MAX], guilty, symbol)

    def _trades(self, it: wire.Trades, received: int) -> Sequence[Event]:
        made: dict[str, list[tuple[int, Trade]]] = {}
        for fill in it.data:
            feed = self.feeds.channel("trades")[fill.symbol]
            feed.frames += 1
            if fill.side not in ("buy", "sell"):
                raise FrameError(f"side {fill.side!r}")
            at = self.at_text(fill.timestamp, received)
            trade = self.trade(feed, at, received, fill.trade_id, fill.price, fill.qty, fill.side == "sell")
            made.setdefault(fill.symbol, []).append((fill.trade_id, trade))
        told: list[Trade] = []
        for native, numbered in made.items():
            feed = self.feeds.channel("trades")[native]
            if it.type == "snapshot":
                told += self.replay(feed, numbered, received)
                continue
            for number, trade in numbered:
                feed.step(number, trade.timestamp, received)
                told.append(trade)
        return told

    def _depths(self, it: wire.Books, received: int) -> Sequence[Event]:
        events: list[Event] = []
        for depth in it.data:
            feed = self.feeds.channel("books")[depth.symbol]
            feed.frames += 1
            book = self._books.setdefault(depth.symbol, wire.Checked(self._depth, feed.instrument))
            at = self.at_text(depth.timestamp, received) if depth.timestamp else received
            snapshot = it.type == "snapshot"
            if (snapshot or book.ladder.whole) and book.apply(depth, snapshot=snapshot):
                events += book.ladder.book(self, feed, at, received)
            else:
                book.ladder.lost(self, feed, f"book-{self._depth}:{depth.symbol}", received)
        return events

    def _candles(self, frame: wire.Candles, received: int) -> Sequence[Event]:
        series: dict[tuple[str, int], list[Candle]] = {}
        for ohlc in frame.data:
            at = self.at_text(ohlc.interval_begin, received)
            prices, value = (ohlc.open, ohlc.high, ohlc.low, ohlc.close), ohlc.volume * ohlc.vwap
            candle = Candle(at, prices, ohlc.volume, value, ohlc.trades)
            series.setdefault((ohlc.symbol, ohlc.interval), []).append(candle)
        events: list[Event] = []
        for (native, minutes), candles in series.items():
            feed = self.feeds.channel("klines")[native]
            feed.frames += 1
            if interval := _INTERVALS.get(minutes):
                closed = self._forming.follow(feed, interval, candles)
                events += [
                    self.kline(feed, it.timestamp, received, interval, it.prices, it.volume, it.value, it.trades)
                    for it in closed
                ]
        return events


# --- declaration -----------------------------------------------------------------------------------------------
def _book_topics(native: str, options: Options) -> Sequence[Topic]:
    depth = next((depth for depth in _DEPTHS if depth >= options.book_depth), _DEPTHS[-1])
    return (Topic(_SOCKET, f"book-{depth}:{native}"),)


def _candle_topics(native: str, options: Options) -> Sequence[Topic]:
    return [Topic(_SOCKET, f"ohlc-{past.MINUTES[word]}:{native}") for word in options.intervals if word in past.MINUTES]


_KRAKEN = Exchange(
    id="kraken",
    session=Session,
    channels={
        "trades": Channel(topics=lambda native, _: (Topic(_SOCKET, f"trade:{native}"),), silence_s_max=900.0),
        "books": Channel(topics=_book_topics, silence_s_max=300.0),
        "klines": Channel(topics=_candle_topics, silence_s_max=900.0, past=past.KLINES),
    },
    limits=Limits(
        topics_per_connection=200, topics_per_request=50, requests_per_s=2.0, connects_per_s=0.25,
        together=lambda topic: topic.partition(":")[0], ping=b'{"method":"ping"}',
    ),
    rest=Rest(
        weight_max=20, window_s=20.0, problem=wire.problem,  # about one a second
        instruments=(Request(f"{_REST}/0/public/AssetPairs"),), volumes=Request(f"{_REST}/0/public/Ticker"),
        time=ServerTime(Request(f"{_REST}/0/public/Time"), ("result", "unixtime"), time.SECOND),
    ),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named,
    spelled=wire.spelled,
    history=History(request=past.ask_trades, parse=past.past, by_time=True),
    recent=past.RECENT,
)  # fmt: skip

EXCHANGES = (_KRAKEN,)
