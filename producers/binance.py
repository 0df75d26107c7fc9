"""Binance spot and futures, those settled in dollars (USD-M) and those in their coin (COIN-M).

``m`` (buyer is maker) is the aggressor's side already. A trade's id unit is the one the venue's REST history
returns: the trade id ``t`` on spot, the aggregate id ``a`` on futures; ``decode`` reads both on both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from producers import _binance_past as past
from producers import _binance_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    History,
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
from producers._feeds import Feed, UnknownSymbol
from producers._ladder import in_base
from producers._session import BaseSession, open_interest, sized
from schemas import time
from schemas.events import Event, Side, Trade

_ENVELOPE = b'{"stream":"'
_ROUTES_MAX, _NAME_MAX = 20_000, 64
_ON_BOOK = {"MARKET", "RPI"}  # INSURANCE_FUND, ADL and NA never met the book
_INTERVALS = {"1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"}
_PARTIAL = re.compile(r"depth(?:5|10|20)(?:@\d+ms)?")
_Route = tuple[str, Callable[[bytes], Any], Callable[[Any, int], Sequence[Event]]]


class Session(BaseSession):
    """A connection to one of Binance's combined streams. ``unit``: which message carries the id unit."""

    def __init__(self, setup: Setup, *, unit: str) -> None:
        super().__init__(setup)
        channel = self.feeds.channel
        self._prints = channel("trades" if unit == "trade" else "prints")
        self._aggregates = channel("trades" if unit == "aggTrade" else "aggregates")
        self._forced, self._books, self._klines = channel("liquidations"), channel("books"), channel("klines")
        self._funding = channel("funding")
        self._routes: dict[bytes, _Route | None] = {}
        self._asked: dict[int, tuple[str, ...]] = {}
        self._last_id = 0

    def subscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("SUBSCRIBE", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("UNSUBSCRIBE", topics)

    def _ask(self, method: str, topics: Sequence[str]) -> bytes:
        self._last_id += 1
        self._asked[self._last_id] = tuple(topics)
        return msgspec.json.encode({"method": method, "params": topics, "id": self._last_id})

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        if not raw.startswith(_ENVELOPE):
            return self._bare(raw, received)
        stream = raw[11 : raw.find(b'"', 11)]
        route = self._routes[stream] if stream in self._routes else self._route(stream)
        return self._follow(route, raw, received) if route else ()

    def _follow(self, route: _Route, raw: bytes, received: int) -> Sequence[Event]:
        kind, decode, build = route
        try:
            return build(decode(raw), received)
        except FrameError as error:
            error.kind = kind
            raise
        except (msgspec.MsgspecError, UnknownSymbol) as error:
            raise FrameError(str(error), raw, kind) from error

    def _route(self, stream: bytes) -> _Route | None:
        """How to read a combined stream's frames, by its name; None for one we have no use for."""
        name, _, channel = stream.decode().partition("@")
        route: _Route | None = None
        if _PARTIAL.fullmatch(channel):
            # The only place where a spot snapshot says its symbol is the name of its stream.
            route = ("book", wire.FRAMED["depth"], lambda frame, at: self._book(frame.data, at, name.upper()))
        elif name == "!serverShutdown":
            route = ("frame", wire.decode_head, self._shutdown)
        else:
            word = {"!forceOrder": "forceOrder", "!markPrice": "markPrices"}.get(name, channel)
            word = re.split(r"[@_]", word, maxsplit=1)[0]
            if build := self._builders().get(word):
                route = (wire.KINDS[word], wire.FRAMED[word], lambda frame, at: build(frame.data, at))
        if len(self._routes) < _ROUTES_MAX and len(stream) <= _NAME_MAX:
            self._routes[stream] = route
        return route

    def _builders(self) -> dict[str, Callable[[Any, int], Sequence[Event]]]:
        return {
            "trade": self._trade, "aggTrade": self._aggregate, "forceOrder": self._liquidation,
            "kline": self._candle, "markPrice": self._mark, "markPrices": self._marks,
        }  # fmt: skip

    def _bare(self, raw: bytes, received: int) -> Sequence[Event]:
        """A frame without envelope: acknowledgements, errors, and events of raw streams."""
        head = wire.decode_head(raw)
        if head.error is not None or (head.code is not None and not head.e):
            asked = self._asked.pop(head.id, ()) if isinstance(head.id, int) else ()
            reason = f"{head.error.code} {head.error.msg}" if head.error is not None else head.msg
            if not asked:
                raise FrameError(f"the exchange says: {reason}")
            native = asked[0].partition("@")[0].upper()
            raise SubscriptionRejected(reason, asked, self.feeds.directory.of(native).symbol if len(asked) == 1 else "")
        if isinstance(head.id, int):
            self._asked.pop(head.id, None)
        if head.e == "serverShutdown":
            return self._shutdown(head, received)
        if head.stream:  # an envelope whose keys stand in another order
            route = self._route(head.stream.encode())
            return self._follow(route, raw, received) if route else ()
        word = {"markPriceUpdate": "markPrice"}.get(head.e, head.e)
        build = self._builders().get(word)
        return self._follow((wire.KINDS[word], wire.BARE[word], build), raw, received) if build else ()

    def _shutdown(self, _: Any, __: int) -> Sequence[Event]:
        self.ending = "serverShutdown"
        return ()

    def _trade(self, it: wire.Print, received: int) -> Sequence[Event]:
        feed = self._prints[it.s]
        feed.frames += 1
        timestamp = self.at(it.T, received)
        # An off-book print takes an id too, so continuity sees it before it is dropped.
        make = self.numbered if feed.instrument.inverse else self.trade
        trade = make(feed, timestamp, received, it.t, it.p, it.q, it.m) if it.X in _ON_BOOK else None
        return _followed(feed, it.t, timestamp, received, trade)

    def _aggregate(self, it: wire.Aggregate, received: int) -> Sequence[Event]:
        feed = self._aggregates[it.s]
        feed.frames += 1
        timestamp = self.at(it.T, received)
        make = self.numbered if feed.instrument.inverse else self.trade
        trade = make(feed, timestamp, received, it.a, it.p, it.q, it.m, it.last - it.first + 1)
        return _followed(feed, it.a, timestamp, received, trade)

    def _liquidation(self, it: wire.Forced, received: int) -> Sequence[Event]:
        order = it.o
        feed = self._forced[order.s]
        feed.frames += 1
        self.at(it.E, received)
        content = (order.T, order.S, order.ap, order.z)
        # Equal content in another message is another liquidation; the same message again is not.
        before = feed.content if isinstance(feed.content, tuple) else ((), 0, 0)
        ordinal = 0 if before[0] != content else before[2] + (before[1] != it.E)
        feed.content = (content, it.E, ordinal)
        if order.S not in ("SELL", "BUY"):
            raise FrameError(f"side {order.S!r}")
        side: Side = "long" if order.S == "SELL" else "short"  # S is the order's side: a long is closed by selling
        name = f"{order.T}-{order.S}-{order.ap}-{order.z}-{ordinal}"
        at = self.at(order.T, received)
        return (self.forced(feed, at, received, name, side, order.ap, order.z, "sampled"),)

    def _book(self, it: wire.Depth, received: int, native: str) -> Sequence[Event]:
        feed = self._books[it.s or native]
        feed.frames += 1
        exchange_time = it.T or it.E
        at = self.at(exchange_time, received) if exchange_time else received
        if it.lastUpdateId >= 0:
            return self.book(feed, at, received, it.lastUpdateId, it.bids, it.asks)
        if feed.instrument.inverse and time.floor(at, self.options.book_every) > feed.slot:
            return self.book(feed, at, received, it.u, in_base(feed, it.b), in_base(feed, it.a))
        return self.book(feed, at, received, it.u, it.b, it.a)

    def _candle(self, it: wire.Candles, received: int) -> Sequence[Event]:
        k = it.k
        feed = self._klines[k.s]
        feed.frames += 1
        self.at(it.E, received)
        if not k.x or k.i not in _INTERVALS:
            return ()
        prices, volumes = (k.o, k.h, k.low, k.c), (k.v, k.q)
        if feed.instrument.inverse:  # contracts, and coins where elsewhere the quote volume is
            volumes = k.q, k.v * feed.instrument.contract_size
        return (self.kline(feed, self.at(k.t, received), received, k.i, prices, *volumes, k.n),)

    def _mark(self, it: wire.Mark, received: int) -> Sequence[Event]:
        feed = self._funding[it.s]
        feed.frames += 1
        at = self.at(it.E, received)
        if not it.r or not it.T:
            return ()
        try:
            rate = float(it.r)
        except ValueError as error:
            raise FrameError(f"funding rate {it.r!r}") from error
        return self.funding(feed, at, received, rate, time.micros(it.T), it.p, it.i)

    def _marks(self, them: list[wire.Mark], received: int) -> Sequence[Event]:
        return [event for it in them for event in self._mark(it, received)]


def _followed(feed: Feed, number: int, timestamp: int, received: int, trade: Trade | None) -> Sequence[Event]:
    if number == feed.expected:
        feed.expected, feed.seen = number + 1, timestamp
    elif 0 <= number < 1 << 63:
        feed.step(number, timestamp, received)
    return (trade,) if trade is not None else ()


# --- declarations ----------------------------------------------------------------------------------------------
_SPOT, _SPOT_REST = "wss://stream.binance.com:9443/stream", past.SPOT
# The futures sockets are split by topic: a topic asked for on the wrong one is acknowledged and never delivered.
_PUBLIC, _MARKET = "wss://fstream.binance.com/public/stream", "wss://fstream.binance.com/market/stream"
_FUTURES_REST = past.FUTURES
# Contracts settled in their coin are on hosts of their own.
_COINS = "wss://dstream.binance.com/stream"


def _spot(_: str) -> str:
    return _SPOT


def _public(native: str) -> str:
    return _COINS if wire.is_coin(native) else _PUBLIC


def _market(native: str) -> str:
    return _COINS if wire.is_coin(native) else _MARKET


def _topic(native: str, _: Options, *, url: Callable[[str], str], name: str) -> Sequence[Topic]:
    return (Topic(url(native), f"{native.lower()}@{name}"),)


def _depth_topic(native: str, options: Options, *, url: Callable[[str], str]) -> Sequence[Topic]:
    levels = next((n for n in (5, 10, 20) if n >= options.book_depth), 20)
    return (Topic(url(native), f"{native.lower()}@depth{levels}@100ms"),)


def _kline_topics(native: str, options: Options, *, url: Callable[[str], str]) -> Sequence[Topic]:
    return [Topic(url(native), f"{native.lower()}@kline_{word}") for word in options.intervals if word in _INTERVALS]


def _open_interest_requests(natives: Sequence[str], _: Setup, __: int) -> Sequence[Request]:
    asked = [Request(f"{past.futures(native)}/openInterest?symbol={native}", 1, native) for native in natives]
    # Of contracts settled in their coin it is contracts: the mark price, asked for first, tells the coins.
    marks = [Request(f"{past.COINS}/dapi/v1/premiumIndex", 10)] if any(map(wire.is_coin, natives)) else []
    return marks + asked


def _open_interest(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Event]:
    if not request.symbol:
        setup.feeds.directory.marks.update({it.symbol: it.markPrice for it in wire.decode_premiums(body)})
        return ()
    it = wire.decode_open_interest(body)
    feed, value = setup.feeds.channel("open_interest")[it.symbol], None
    feed.frames += 1
    if feed.instrument.inverse and it.openInterest:
        mark = setup.feeds.directory.marks.get(it.symbol, 0.0)
        it.openInterest, value = sized(feed, mark, it.openInterest, "open_interest")
    return open_interest(setup, feed, time.micros(it.time), received, it.openInterest, value)


def _funding_info(body: bytes, _: Request, __: int, setup: Setup) -> Sequence[Event]:
    # Only symbols whose interval was ever changed are listed; about the others the venue says nothing.
    setup.feeds.directory.hours.update({it.symbol: it.fundingIntervalHours for it in wire.decode_funding_info(body)})
    return ()


def _funding_info_requests(natives: Sequence[str], _: Setup, __: int) -> Sequence[Request]:
    return [Request(f"{where}/fundingInfo") for where in sorted({past.futures(native) for native in natives})]


_FUNDING_INFO = Poll(requests=_funding_info_requests, parse=_funding_info, every_s=3600.0)

_BINANCE = Exchange(
    id="binance",
    alternates={"wss://stream.binance.com:9443": ("wss://stream.binance.com:443", "wss://data-stream.binance.vision")},
    session=partial(Session, unit="trade"),
    channels={
        "trades": Channel(topics=partial(_topic, url=_spot, name="trade"), silence_s_max=600.0),
        "books": Channel(topics=partial(_depth_topic, url=_spot), silence_s_max=600.0),
        "klines": Channel(topics=partial(_kline_topics, url=_spot), silence_s_max=300.0, past=past.SPOT_KLINES),
    },
    limits=Limits(topics_per_connection=400, topics_per_request=100, requests_per_s=2.0),
    rest=Rest(
        weight_max=6000,
        problem=wire.problem,
        instruments=(Request(f"{_SPOT_REST}/api/v3/exchangeInfo", 20),),
        volumes=Request(f"{_SPOT_REST}/api/v3/ticker/24hr?type=MINI", 80),
        time=ServerTime(Request(f"{_SPOT_REST}/api/v3/time"), ("serverTime",)),
    ),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named_spot,
    spelled=wire.spelled_spot,
    history=History(request=past.ask_fills, parse=past.fills),
    recent=past.RECENT_FILLS,
)

_BINANCE_FUTURES = Exchange(
    id="binance_futures",
    session=partial(Session, unit="aggTrade"),
    channels={
        "trades": Channel(topics=partial(_topic, url=_market, name="aggTrade"), silence_s_max=600.0),
        # The venue sends the latest liquidation of a symbol per second, not all of them.
        "liquidations": Channel(topics=partial(_topic, url=_market, name="forceOrder"), coverage="sampled"),
        "books": Channel(topics=partial(_depth_topic, url=_public), silence_s_max=600.0),
        "klines": Channel(topics=partial(_kline_topics, url=_market), silence_s_max=300.0, past=past.KLINES),
        "funding": Channel(
            topics=partial(_topic, url=_market, name="markPrice@1s"),
            silence_s_max=60.0,
            knowledge=_FUNDING_INFO,
            past=past.FUNDING,
        ),
        "open_interest": Channel(
            poll=Poll(requests=_open_interest_requests, parse=_open_interest), past=past.OPEN_INTEREST
        ),
    },
    limits=Limits(topics_per_connection=180, topics_per_request=100, requests_per_s=4.0),
    rest=Rest(
        weight_max=2400,
        problem=wire.problem,
        instruments=(
            Request(f"{_FUTURES_REST}/fapi/v1/exchangeInfo", 1),
            Request(f"{past.COINS}/dapi/v1/exchangeInfo", 1),
        ),
        volumes=Request(f"{_FUTURES_REST}/fapi/v1/ticker/24hr", 40),
        time=ServerTime(Request(f"{_FUTURES_REST}/fapi/v1/time"), ("serverTime",)),
    ),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named_future,
    spelled=wire.spelled_future,
    history=History(request=past.ask_aggregates, parse=past.aggregates),
    recent=past.RECENT_AGGREGATES,
)

EXCHANGES = (_BINANCE, _BINANCE_FUTURES)
