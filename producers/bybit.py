"""Bybit v5: spot, and linear and inverse contracts. Fields and units: docs/exchanges.md#bybit.

``S`` of a trade is the aggressor's side; of a liquidation it is the position's. Trade ids are not dense.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any

import msgspec

from producers import _bybit_past as past
from producers import _bybit_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    Limits,
    Options,
    Request,
    Rest,
    ServerTime,
    Setup,
    SubscriptionRejected,
    Topic,
)
from producers._feeds import Feed
from producers._ladder import Ladder
from producers._session import BaseSession, open_interest
from schemas import time
from schemas.events import Event, Side

_TOPIC = b'{"topic":"'
_ASKED_MAX, _SYMBOLS_MAX = 100, 20_000
_AHEAD_MAX = 7 * time.DAY
_CANDLES = {word: interval for interval, word in past.WORDS.items()}
_SIDES = ("Buy", "Sell")
_OPTION = re.compile(r"-[CP](-|$)")


class Session(BaseSession):
    """A connection to one of Bybit's markets."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._setup = setup
        self._builders: dict[str, Callable[[Any, int], Sequence[Event]]] = {
            "publicTrade": self._trades, "orderbook": self._depth, "kline": self._candles,
            "allLiquidation": self._liquidations, "tickers": self._ticker,
        }  # fmt: skip
        self._asked: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._requests = 0
        self._ladders: dict[str, Ladder] = {}
        self._tickers: dict[str, wire.Ticker] = {}

    def subscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("unsubscribe", topics)

    def _ask(self, op: str, topics: Sequence[str]) -> bytes:
        self._requests += 1
        self._asked[str(self._requests)] = tuple(topics)
        if len(self._asked) > _ASKED_MAX:
            self._asked.popitem(last=False)
        return msgspec.json.encode({"req_id": str(self._requests), "op": op, "args": topics})

    # --- frames ------------------------------------------------------------------------------------------------
    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        if raw.startswith(_TOPIC):
            return self._pushed(raw[10 : raw.find(b'"', 10)].decode(), raw, received)
        head = wire.decode_head(raw)
        if head.topic and not head.op:
            return self._pushed(head.topic, raw, received)
        if head.success:
            self._asked.pop(head.req_id, None)
        elif "already subscribed" not in head.ret_msg.lower():
            self._refused(head)
        return ()

    def _pushed(self, topic: str, raw: bytes, received: int) -> Sequence[Event]:
        word = topic.partition(".")[0]
        build = self._builders.get(word)
        if build is None:
            return ()
        try:
            return build(wire.DECODE[word](raw), received)
        except FrameError as error:
            if error.kind == "frame":
                error.kind = wire.KINDS[word]
            raise
        except msgspec.MsgspecError as error:
            raise FrameError(str(error), raw, wire.KINDS[word]) from error

    def _refused(self, head: wire.Head) -> None:
        """One bad topic spoils its whole request. A refusal without id is of the request that has its topic."""
        name = head.req_id
        if name not in self._asked:
            named = (name for name, topics in self._asked.items() if any(topic in head.ret_msg for topic in topics))
            name = next(named, next(iter(self._asked), ""))
        topics = self._asked.pop(name, ())
        if not topics:
            raise FrameError(f"the exchange says: {head.ret_msg}")
        native = topics[0].rpartition(".")[2]
        raise SubscriptionRejected(head.ret_msg, topics, self._symbol(native) if len(topics) == 1 else "")

    def _symbol(self, native: str) -> str:
        return self.feeds.directory.of(native).symbol

    # --- trades and liquidations -------------------------------------------------------------------------------
    def _trades(self, frame: Any, received: int) -> Sequence[Event]:
        events: list[Event] = []
        seen: list[tuple[Feed, int]] = []
        for it in frame.data:
            if _OPTION.search(it.s):
                continue
            feed = self.feeds.channel("trades")[it.s]
            feed.frames += 1
            if it.S not in _SIDES:
                raise FrameError(f"side {it.S!r}")
            at = self.at(it.T, received)
            seen.append((feed, at))
            if not it.BT:  # a block trade never met the book
                events.append(self.fill(feed, at, received, it.i, it.p, it.v, it.S == "Sell"))
        for feed, at in seen:
            feed.follow(at, received)
        return events

    def _liquidations(self, frame: Any, received: int) -> Sequence[Event]:
        events: list[Event] = []
        equal: Counter[str] = Counter()
        for it in frame.data:
            feed = self.feeds.channel("liquidations")[it.s]
            feed.frames += 1
            if it.S not in _SIDES:
                raise FrameError(f"side {it.S!r}")
            side: Side = "long" if it.S == "Buy" else "short"  # the side of the position, not of the order
            content = f"{it.T}-{side}-{it.p}-{it.v}"
            name = f"{content}-{equal[content]}"
            equal[content] += 1
            events.append(self.forced(feed, self.at(it.T, received), received, name, side, it.p, it.v, "all"))
        return events

    # --- books and candles -------------------------------------------------------------------------------------
    def _depth(self, frame: Any, received: int) -> Sequence[Event]:
        it = frame.data
        feed, ladder = self.feeds.channel("books")[it.s], self._ladders.setdefault(it.s, Ladder())
        at = self.at(frame.cts or frame.ts, received)
        if frame.type == "snapshot" or it.u == 1:  # 1: the exchange has started anew
            ladder.begin(it.b, it.a, it.u)
        elif not ladder.whole or it.u != ladder.sequence + 1:
            ladder.lost(self, feed, frame.topic, received)
            return ()  # and not counted as heard
        else:
            ladder.change(it.b, it.a, it.u)
        feed.frames += 1
        return ladder.book(self, feed, at, received)

    def _candles(self, frame: Any, received: int) -> Sequence[Event]:
        _, word, native = f"{frame.topic}..".split(".")[:3]
        interval = _CANDLES.get(word)
        if interval is None:
            return ()
        feed = self.feeds.channel("klines")[native]
        feed.frames += 1
        self.at(frame.ts, received)
        events: list[Event] = []
        for it in frame.data:
            if it.confirm:
                sums = (it.turnover, it.volume) if feed.instrument.inverse else (it.volume, it.turnover)
                prices = (it.open, it.high, it.low, it.close)
                events.append(self.kline(feed, self.at(it.start, received), received, interval, prices, *sums, None))
        return events

    # --- funding and open interest -----------------------------------------------------------------------------
    def _ticker(self, frame: Any, received: int) -> Sequence[Event]:
        """A ticker says what has changed since the last: what it said before is kept, until it says all anew."""
        native = frame.data.symbol
        if _OPTION.search(native):
            return ()
        kept = self._tickers.get(native)
        if frame.type == "delta" and kept is not None:
            for name in wire.Ticker.__struct_fields__:
                if (text := getattr(frame.data, name)) is not None:
                    setattr(kept, name, text)
        elif frame.type == "snapshot" and len(self._tickers) < _SYMBOLS_MAX:
            kept = self._tickers[native] = frame.data
        at = self.at(frame.ts, received)
        if kept is None:
            return ()  # a change of something unknown
        return [*self._funding(kept, at, received), *self._interest(kept, at, received)]

    def _funding(self, it: wire.Ticker, at: int, received: int) -> Sequence[Event]:
        rate, ends = _number(it.fundingRate), int(_number(it.nextFundingTime) or 0)
        if "funding" not in self.options.channels or rate is None or not ends:
            return ()  # spot and dated futures have none
        if not time.EARLIEST <= time.micros(ends) < at + _AHEAD_MAX:
            raise FrameError(f"impossible funding time {ends}")
        feed = self.feeds.channel("funding")[it.symbol]
        feed.frames += 1
        marks = (_number(it.markPrice), _number(it.indexPrice))
        return self.funding(feed, at, received, rate, time.micros(ends), *marks, _number(it.fundingIntervalHour))

    def _interest(self, it: wire.Ticker, at: int, received: int) -> Sequence[Event]:
        size, value = _number(it.singleOpenInterest), _number(it.singleOpenInterestValue)
        if size is None and (both := _number(it.openInterest)) is not None:
            whole = _number(it.openInterestValue)
            size, value = both / 2, None if whole is None else whole / 2
        if "open_interest" not in self.options.channels or size is None:
            return ()
        feed = self.feeds.channel("open_interest")[it.symbol]
        feed.frames += 1
        if feed.instrument.inverse:  # counted in dollars, worth coins
            if value is None:
                return ()
            size, value = value, size
        return open_interest(self._setup, feed, at, received, size, value)


def _number(text: str | None) -> float | None:
    """A finite number; None where there is none."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise FrameError(f"number {text!r}"[:100]) from error
    if not isfinite(number):
        raise FrameError(f"number {text!r}"[:100])
    return number


# --- declarations ----------------------------------------------------------------------------------------------
_STREAM, _REST = "wss://stream.bybit.com/v5/public", past.REST


def _url(native: str, spot: bool) -> str:
    return f"{_STREAM}/{'spot' if spot else 'inverse' if wire.is_inverse(native) else 'linear'}"


def _topic(native: str, _: Options, *, spot: bool, name: str) -> Sequence[Topic]:
    return (Topic(_url(native, spot), f"{name}.{native}"),)


def _book_topic(native: str, options: Options, *, spot: bool) -> Sequence[Topic]:
    levels = next((n for n in (50, 200) if n >= options.book_depth), 1_000)
    return (Topic(_url(native, spot), f"orderbook.{levels}.{native}"),)


def _candle_topics(native: str, options: Options, *, spot: bool) -> Sequence[Topic]:
    words = [past.WORDS[interval] for interval in options.intervals if interval in past.WORDS]
    return [Topic(_url(native, spot), f"kline.{word}.{native}") for word in words]


def _channels(spot: bool) -> dict[str, Channel]:
    return {
        "trades": Channel(topics=partial(_topic, spot=spot, name="publicTrade"), silence_s_max=600.0),
        "books": Channel(topics=partial(_book_topic, spot=spot), silence_s_max=600.0),
        "klines": Channel(topics=partial(_candle_topics, spot=spot), silence_s_max=300.0, past=past.klines(spot=spot)),
    }


def _rest(*categories: str) -> Rest:
    queries = [
        f"category={category}" + ("" if category == "spot" else f"&limit={wire.PAGE}") for category in categories
    ]
    return Rest(
        weight_max=600,
        window_s=5.0,
        problem=wire.problem,
        instruments=tuple(Request(f"{_REST}/instruments-info?{query}") for query in queries),
        following=wire.following,
        volumes=Request(f"{_REST}/tickers?category={categories[0]}"),
        time=ServerTime(Request(f"{_REST}/time"), ("time",)),
    )


# 21,000 characters of arguments a connection; spot takes ten topics a request.
_LIMITS = Limits(topics_per_connection=400, topics_per_request=10, requests_per_s=10.0, ping=b'{"op":"ping"}')
_TICKERS = partial(_topic, spot=False, name="tickers")

_BYBIT = Exchange(
    id="bybit",
    session=Session,
    channels=_channels(spot=True),
    limits=_LIMITS,
    rest=_rest("spot"),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named_spot,
    spelled=wire.spelled_spot,
    recent=past.recent(spot=True),
)

_BYBIT_FUTURES = Exchange(
    id="bybit_futures",
    session=Session,
    channels={
        **_channels(spot=False),
        "liquidations": Channel(topics=partial(_topic, spot=False, name="allLiquidation")),
        # One subscription serves both; a ticker comes several times a second.
        "funding": Channel(topics=_TICKERS, silence_s_max=60.0, past=past.FUNDING),
        "open_interest": Channel(topics=_TICKERS, silence_s_max=60.0, past=past.OPEN_INTEREST),
    },
    limits=_LIMITS,
    rest=_rest("linear", "inverse"),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named_contract,
    spelled=wire.spelled_contract,
    recent=past.recent(spot=False),
)

EXCHANGES = (_BYBIT, _BYBIT_FUTURES)
