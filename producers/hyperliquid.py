"""Hyperliquid's perpetuals: one topic a request, no sequence anywhere. Field semantics: docs/exchanges.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from producers import _hyperliquid_past as past
from producers import _hyperliquid_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    Limits,
    Options,
    Past,
    Request,
    Rest,
    Setup,
    SubscriptionRejected,
    Topic,
)  # fmt: skip
from producers._forming import Candle, Forming
from producers._session import REPLAY_MAX, BaseSession, open_interest
from schemas import time
from schemas.events import Event

_WS, _INFO = "wss://api.hyperliquid.xyz/ws", past.INFO
_HEAD = b'{"channel":"'
_INTERVALS = frozenset(past.WORDS)


class Session(BaseSession):
    """One connection. Every first message of a coin's trades after subscribing is history."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        channel = self.feeds.channel
        self._trades, self._books, self._klines = channel("trades"), channel("books"), channel("klines")
        self._funding, self._interest = channel("funding"), channel("open_interest")
        self._live: set[str] = set()
        """Coins whose history has come."""
        self._forming = Forming()
        self._builders: dict[str, Callable[[Any, int], Sequence[Event]]] = {
            "trades": self._prints, "l2Book": self._book, "candle": self._candle, "activeAssetCtx": self._context,
        }  # fmt: skip

    def subscribe(self, topics: Sequence[str]) -> bytes:
        (name,) = topics
        if name.startswith("trades|"):
            self._live.discard(name.split("|")[1])
        return wire.request("subscribe", name)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        (name,) = topics
        return wire.request("unsubscribe", name)

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        word = raw[12 : raw.find(b'"', 12)].decode() if raw.startswith(_HEAD) else wire.decode_head(raw).channel
        build = self._builders.get(word)
        if build is None:
            return self._other(word, raw)
        try:
            return build(wire.DECODE[word](raw).data, received)
        except FrameError as error:
            error.kind = wire.KINDS[word]
            raise
        except msgspec.MsgspecError as error:
            raise FrameError(str(error), raw, wire.KINDS[word]) from error

    def _other(self, word: str, raw: bytes) -> Sequence[Event]:
        head = wire.decode_head(raw)  # whatever it is, it has to be readable
        if word != "error":
            return ()
        text = wire.decode_text(head.data)
        if text.startswith("Already "):
            return ()
        if (topic := wire.refused(text)) is None:
            raise FrameError(f"the exchange says: {text}")
        raise SubscriptionRejected(text, [topic], topic.split("|")[1])

    def _prints(self, them: list[wire.Print], received: int) -> Sequence[Event]:
        events: list[Event] = []
        for it in them:
            feed = self._trades[it.coin]
            feed.frames += 1
            at = self.at(it.time, received)
            if it.side not in ("A", "B"):
                raise FrameError(f"side {it.side!r}")
            trade = self.trade(feed, at, received, it.tid, it.px, it.sz, it.side == "A")
            # History from before the last trade we told is known; from its millisecond on it may fill a hole.
            if it.coin in self._live or at >= (feed.seen or received - REPLAY_MAX):
                events.append(trade)
        for it in sorted(them, key=attrgetter("time")):
            self._trades[it.coin].follow(time.micros(it.time), received)
            self._live.add(it.coin)
        return events

    def _book(self, it: wire.Book, received: int) -> Sequence[Event]:
        feed = self._books[it.coin]
        feed.frames += 1
        at = self.at(it.time, received)
        # The fast feed under the same name is not asked for and shows fewer levels.
        if it.fast or not (it.levels[0] or it.levels[1]):
            return ()
        bids, asks = ([(level.px, level.sz) for level in side] for side in it.levels)
        return self.book(feed, at, received, it.time, bids, asks)

    def _candle(self, it: wire.Candle, received: int) -> Sequence[Event]:
        feed = self._klines[it.s]
        feed.frames += 1
        candle = Candle(self.at(it.t, received), (it.o, it.h, it.low, it.c), it.v, None, it.n)
        if it.i not in _INTERVALS:
            return ()
        closed = self._forming.follow(feed, it.i, (candle,))
        return [self.kline(feed, c.timestamp, received, it.i, c.prices, c.volume, c.value, c.trades) for c in closed]

    def _context(self, it: wire.AssetContext, received: int) -> Sequence[Event]:
        """The frame has no time: ours stands for it, also for the hour at whose end funding is due."""
        funding, interest, now = self._funding[it.coin], self._interest[it.coin], it.ctx
        funding.frames += 1
        interest.frames += 1
        events: list[Event] = []
        if "funding" in self.options.channels:
            due = time.floor(received, time.HOUR) + time.HOUR if received else None
            events += self.funding(funding, received, received, now.funding, due, now.markPx, now.oraclePx, 1.0)
        if "open_interest" in self.options.channels:
            value = now.openInterest * now.markPx if now.markPx is not None else None
            setup = Setup(self.exchange, self.feeds, self.options)
            events += open_interest(setup, interest, received, received, now.openInterest, value)
        return events


# --- declarations ----------------------------------------------------------------------------------------------
def _topic(kind: str, silence_s_max: float, its: Past | None = None) -> Channel:
    def topics(coin: str, _: Options) -> Sequence[Topic]:
        return (Topic(_WS, wire.topic(kind, coin)),)

    return Channel(topics=topics, silence_s_max=silence_s_max, past=its)


def _kline_topics(coin: str, options: Options) -> Sequence[Topic]:
    return [Topic(_WS, wire.topic("candle", coin, word)) for word in options.intervals if word in _INTERVALS]


EXCHANGES = (
    Exchange(
        id="hyperliquid",
        session=Session,
        channels={
            "trades": _topic("trades", 900.0),
            "books": _topic("l2Book", 300.0),
            "klines": Channel(topics=_kline_topics, silence_s_max=900.0, past=past.KLINES),
            "funding": _topic("activeAssetCtx", 120.0, past.FUNDING),
            "open_interest": _topic("activeAssetCtx", 120.0),
        },
        # Per address: 1,000 topics, 10 connections of which 30 new ones a minute, 2,000 messages a minute.
        limits=Limits(
            topics_per_connection=250,
            topics_per_request=1,
            requests_per_s=10.0,
            connects_per_s=0.25,
            ping=b'{"method":"ping"}',
            ping_every_s=20.0,
        ),
        rest=Rest(
            weight_max=1200,
            problem=wire.problem,
            instruments=(Request(_INFO, 20, body=b'{"type":"meta"}'),),
            volumes=Request(_INFO, 20, body=b'{"type":"metaAndAssetCtxs"}'),
        ),
        instruments=wire.instruments,
        volumes=wire.volumes,
        named=wire.named,
        spelled=wire.spelled,
        recent=past.RECENT,
    ),
)
