"""Bitget, spot and futures: v2's sockets, and v3's for liquidations. Field semantics: docs/exchanges.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from producers import _bitget_past as past
from producers import _bitget_wire as wire
from producers._bitget_requests import Requests
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    Limits,
    Options,
    Poll,
    Request,
    Rest,
    ServerTime,
    Setup,
    SubscriptionRejected,
    Topic,
)  # fmt: skip
from producers._forming import Candle, Forming
from producers._session import REPLAY_MAX, BaseSession, open_interest
from schemas import time
from schemas.events import Event, Side

_V2, _V3, _REST = (
    "wss://ws.bitget.com/v2/ws/public",
    "wss://ws.bitget.com/v3/ws/public",
    past.REST,
)
_MARKETS = ("USDT-FUTURES", "COIN-FUTURES", "USDC-FUTURES")
_CANDLES = {
    "1m": "candle1m", "5m": "candle5m", "15m": "candle15m", "30m": "candle30m", "1h": "candle1H", "4h": "candle4H",
    "6h": "candle6Hutc", "12h": "candle12Hutc", "1d": "candle1Dutc",
}  # fmt: skip
_INTERVALS = {channel: interval for interval, channel in _CANDLES.items()}
_BOOKS = {1: "books1", 5: "books5", 15: "books15"}
_V2_WORDS = {"trade": "trade", "ticker": "ticker", **dict.fromkeys(_BOOKS.values(), "book"),
             **dict.fromkeys(_INTERVALS, "candle")}  # fmt: skip
_V3_WORDS = {"publicTrade": "publicTrade", "liquidation": "liquidation"}


class Session(BaseSession):
    """One connection. ``markets`` are the instrument types that are ours."""

    def __init__(self, setup: Setup, *, markets: Sequence[str]) -> None:
        super().__init__(setup)
        self._markets = markets
        self._forming = Forming()
        self._requests = Requests()
        self._builders: dict[str, Callable[[Any, int, str], Sequence[Event]]] = {
            "trade": self._prints, "publicTrade": self._trades, "liquidation": self._liquidations,
            "book": self._books, "ticker": self._tickers, "candle": self._candles,
        }  # fmt: skip

    def subscribe(self, topics: Sequence[str]) -> bytes:
        return self._requests.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._requests.unsubscribe(topics)

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        if raw == b"pong":
            return ()
        word = _V2_WORDS.get(_word(raw, b'"channel":"')) or _V3_WORDS.get(_word(raw, b'"topic":"'))
        if word is None or raw.startswith(b'{"event"'):
            return self._answer(raw)
        if _word(raw, b'"instType":"').upper() not in self._markets:
            return ()
        try:
            frame = wire.DECODE[word](raw)
            return self._builders[word](frame, received, frame.arg.instId or frame.arg.symbol)
        except FrameError as error:
            error.kind = wire.KINDS[word]
            raise
        except msgspec.MsgspecError as error:
            raise FrameError(str(error), raw, wire.KINDS[word]) from error

    def _answer(self, raw: bytes) -> Sequence[Event]:
        head = wire.decode_head(raw)
        if head.event == "error":
            reason = f"{head.code} {head.msg}"
            refused = self._requests.refused(head)
            if refused is None:
                raise FrameError(f"the exchange says: {reason}")
            raise SubscriptionRejected(reason, refused[:1], refused[1])
        return ()

    def _prints(self, frame: wire.Frame[wire.Print], received: int, native: str) -> Sequence[Event]:
        rows = [(it.ts, it.tradeId, it.price, it.size, it.side) for it in frame.data]
        return self._fills(rows, frame.action == "snapshot", received, native)

    def _trades(self, frame: wire.Frame[wire.PublicTrade], received: int, native: str) -> Sequence[Event]:
        dollars = frame.arg.instType.upper() == "COIN-FUTURES"
        rows = [(it.T, it.i, it.p, it.v / it.p if dollars and it.p > 0.0 else it.v, it.S) for it in frame.data]
        return self._fills(rows, frame.action == "snapshot", received, native)

    def _fills(
        self, rows: Sequence[tuple[int, int, float, float, str]], history: bool, received: int, native: str
    ) -> Sequence[Event]:
        """Trades, oldest first; of the history sent on subscribing what is not older than the last one told."""
        feed = self.feeds.channel("trades")[native]
        events: list[Event] = []
        since = feed.seen or received - REPLAY_MAX
        for ts, number, price, quantity, side in reversed(rows):
            feed.frames += 1
            at = self.at(ts, received)
            if side not in ("buy", "sell"):
                raise FrameError(f"side {side!r}")
            trade = self.trade(feed, at, received, number, price, quantity, side == "sell")
            if not history or at >= since:
                events.append(trade)
        for ts, *_ in reversed(rows):
            feed.follow(time.micros(ts), received)
        return events

    def _liquidations(self, frame: wire.Frame[wire.Liquidation], received: int, _: str) -> Sequence[Event]:
        """``side`` is the position's: buy is a long that was closed. The subscription is for a whole type."""
        market = frame.arg.instType.upper()
        equal: Counter[tuple[str, str]] = Counter()
        events: list[Event] = []
        for it in frame.data:
            if not self._requests.wants(market, it.symbol):
                continue
            feed = self.feeds.channel("liquidations")[it.symbol]
            feed.frames += 1
            if it.side not in ("buy", "sell") or not it.price > 0.0:
                raise FrameError(f"side {it.side!r} or price {it.price!r}")
            side: Side = "long" if it.side == "buy" else "short"
            content = f"{it.ts}-{it.side}-{it.price!r}-{it.amount!r}"
            name = f"{content}-{equal[it.symbol, content]}"
            equal[it.symbol, content] += 1
            at = self.at(it.ts, received)
            coins = it.amount / it.price
            events.append(self.liquidation(feed, at, received, name, side, it.price, coins, "sampled"))
        return events

    def _books(self, frame: wire.Frame[wire.Book], received: int, native: str) -> Sequence[Event]:
        feed = self.feeds.channel("books")[native]
        events: list[Event] = []
        for it in frame.data:
            feed.frames += 1
            events += self.book(feed, self.at(it.ts, received), received, it.seq or it.ts, it.bids, it.asks)
        return events

    def _candles(self, frame: wire.Frame[list[float]], received: int, native: str) -> Sequence[Event]:
        """Rows of open time, open, high, low, close, coins, quote units; those of a snapshot are history."""
        feed, interval = self.feeds.channel("klines")[native], _INTERVALS[frame.arg.channel]
        length = time.duration(interval)
        candles = []
        for row in frame.data:
            feed.frames += 1
            if len(row) < 7:
                raise FrameError(f"a candle of {len(row)} columns")
            at = self.at(int(row[0]) if 0.0 <= row[0] < 1e15 else -1, received)
            if time.floor(at, length) == at:
                candles.append(Candle(at, (row[1], row[2], row[3], row[4]), row[5], row[6]))
        closed = self._forming.follow(feed, interval, candles)
        return [self.kline(feed, c.timestamp, received, interval, c.prices, c.volume, c.value, None) for c in closed]

    def _tickers(self, frame: wire.Frame[wire.Ticker], received: int, _: str) -> Sequence[Event]:
        events: list[Event] = []
        for it in frame.data if self._markets == _MARKETS else ():  # spot's has prices only
            funding, interest = (self.feeds.channel(name)[it.instId] for name in ("funding", "open_interest"))
            funding.frames += 1
            interest.frames += 1
            at, mark = self.at(it.ts, received), _price(it.markPrice)
            if it.nextFundingTime not in ("", "0") and it.fundingRate and "funding" in self.options.channels:
                due = _time(it.nextFundingTime)
                rate = _number(it.fundingRate)
                events += self.funding(funding, at, received, rate, due, mark, _price(it.indexPrice))
            if it.holdingAmount and "open_interest" in self.options.channels:
                held = _number(it.holdingAmount)
                setup = Setup(self.exchange, self.feeds, self.options)
                events += open_interest(setup, interest, at, received, held, held * mark if mark else None)
        return events


def _word(raw: bytes, key: bytes) -> str:
    """The text behind a key, empty where it is not there."""
    at = raw.find(key) + len(key)
    return raw[at : raw.find(b'"', at)].decode() if at >= len(key) else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise FrameError(f"number {text!r}"[:100]) from error


def _time(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 13):
        raise FrameError(f"time {text!r}"[:100])
    return time.micros(int(text))


def _price(text: str) -> float | None:
    """None where there is none: delivery futures send 0."""
    return (_number(text) or None) if text else None


# --- declarations ----------------------------------------------------------------------------------------------
def _market(native: str, *, futures: bool) -> str:
    return wire.market(native) if futures else "SPOT"


def _topic(native: str, _: Options, *, futures: bool, channel: str, url: str = _V2) -> Sequence[Topic]:
    return (Topic(url, f"{_market(native, futures=futures)}|{channel}|{native}"),)


def _book_topic(native: str, options: Options, *, futures: bool) -> Sequence[Topic]:
    levels = next((n for n in _BOOKS if n >= options.book_depth), 15)
    return (Topic(_V2, f"{_market(native, futures=futures)}|{_BOOKS[levels]}|{native}"),)


def _kline_topics(native: str, options: Options, *, futures: bool) -> Sequence[Topic]:
    market = _market(native, futures=futures)
    return [Topic(_V2, f"{market}|{_CANDLES[word]}|{native}") for word in options.intervals if word in _CANDLES]


def _live(futures: bool) -> dict[str, Channel]:
    return {
        "trades": Channel(topics=partial(_topic, futures=futures, channel="trade"), silence_s_max=900.0),
        "books": Channel(topics=partial(_book_topic, futures=futures), silence_s_max=300.0),
        "klines": Channel(
            topics=partial(_kline_topics, futures=futures), silence_s_max=600.0, past=past.klines(futures=futures)
        ),
    }


def _interval(body: bytes, _: Request, __: int, setup: Setup) -> Sequence[Event]:
    setup.feeds.directory.hours.update(wire.hours(body))
    return ()


_TIME = ServerTime(Request(f"{_REST}/public/time"), ("data", "serverTime"))
_CONTRACTS = tuple(Request(f"{_REST}/mix/market/contracts?productType={market}") for market in _MARKETS)
# 10 messages a second and 240 subscriptions an hour for each of 100 connections; 1,000 topics, 50 are advised.
_LIMITS = Limits(topics_per_connection=100, topics_per_request=50, requests_per_s=2.0, ping=b"ping", ping_every_s=20.0)
_TICKER = partial(_topic, futures=True, channel="ticker")

_BITGET = Exchange(
    id="bitget",
    session=partial(Session, markets=("SPOT",)),
    channels=_live(futures=False),
    limits=_LIMITS,
    rest=Rest(
        weight_max=1200,
        problem=wire.problem,
        instruments=(Request(f"{_REST}/spot/public/symbols"),),
        volumes=Request(f"{_REST}/spot/market/tickers"),
        time=_TIME,
    ),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named_spot,
    spelled=wire.spelled_spot,
    recent=past.recent(futures=False),
)

_BITGET_FUTURES = Exchange(
    id="bitget_futures",
    session=partial(Session, markets=_MARKETS),
    channels={
        **_live(futures=True),
        # A push holds the largest of a side, by one description; that it holds all, by another.
        "liquidations": Channel(
            topics=partial(_topic, futures=True, channel="liquidation", url=_V3), coverage="sampled"
        ),
        "funding": Channel(
            topics=_TICKER, silence_s_max=120.0,
            knowledge=Poll(requests=lambda *_: _CONTRACTS, parse=_interval, every_s=3600.0), past=past.FUNDING,
        ),
        "open_interest": Channel(topics=_TICKER, silence_s_max=120.0),
    },
    limits=_LIMITS,
    rest=Rest(
        weight_max=1200,
        problem=wire.problem,
        instruments=_CONTRACTS,
        volumes=Request(f"{_REST}/mix/market/tickers?productType=USDT-FUTURES"),
        time=_TIME,
    ),
    instruments=wire.futures,
    volumes=wire.volumes,
    named=wire.named_future,
    spelled=wire.spelled_future,
    recent=past.recent(futures=True),
)  # fmt: skip

EXCHANGES = (_BITGET, _BITGET_FUTURES)
