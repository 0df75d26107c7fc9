"""Deribit's futures, perpetuals and spot, over JSON-RPC. Field semantics: docs/exchanges.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from producers import _deribit_past as past
from producers import _deribit_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    History,
    Limits,
    Options,
    Page,
    Past,
    Reach,
    Recent,
    Request,
    Rest,
    Row,
    ServerTime,
    Setup,
    SubscriptionRejected,
    Topic,
)  # fmt: skip
from producers._feeds import Feed, UnknownSymbol
from producers._forming import Candle, Forming
from producers._recent import forwards
from producers._session import BaseSession, open_interest, sized
from schemas import time
from schemas.events import Event, Level, Side

_WS, _REST = "wss://www.deribit.com/ws/api/v2", past.REST
_CHANNEL = b'"channel":"'
_TOO_MANY = 10028
_PAGE = 1_000
_INTERVALS = {resolution: interval for interval, resolution in past.RESOLUTIONS.items()}
_HEARTBEAT_S = 30


class Session(BaseSession):
    """One connection. It asks for heartbeats and answers the exchange's test requests, or would be cut."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._last_id = 0
        self._asked: dict[int, tuple[str, ...]] = {}
        self._forming = Forming()
        self._builders: dict[str, Callable[[Any, int, str], Sequence[Event]]] = {
            "trades": self._prints, "book": self._book, "ticker": self._ticker, "chart": self._bar,
        }  # fmt: skip
        self.replies.append(self._call("set_heartbeat", {"interval": _HEARTBEAT_S}))

    def subscribe(self, topics: Sequence[str]) -> bytes:
        raw = self._call("subscribe", {"channels": topics})
        self._asked[self._last_id] = tuple(topics)
        return raw

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._call("unsubscribe", {"channels": topics})

    def _call(self, method: str, params: Any) -> bytes:
        self._last_id += 1
        return wire.call(self._last_id, method, params)

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        start = raw.find(_CHANNEL) + len(_CHANNEL)
        if start < len(_CHANNEL):
            return self._answer(raw)
        channel = raw[start : raw.find(b'"', start)].decode()
        word = channel.partition(".")[0]
        build = self._builders.get(word)
        # Books that come as changes are another feed of the same word.
        if build is None or (word == "book" and channel.count(".") != 4):
            return ()
        try:
            return build(wire.DECODE[word](raw).params.data, received, channel)
        except FrameError as error:
            error.kind = wire.KINDS[word]
            raise
        except msgspec.MsgspecError as error:
            raise FrameError(str(error), raw, wire.KINDS[word]) from error

    def _answer(self, raw: bytes) -> Sequence[Event]:
        head = wire.decode_head(raw)
        if head.method == "heartbeat" and head.params.type == "test_request":
            self.replies.append(self._call("test", {}))
        asked = self._asked.pop(head.id, ()) if head.id is not None else ()
        if head.error is not None:
            reason = f"{head.error.code} {head.error.message}"
            if head.error.code == _TOO_MANY and asked:
                self.broken.update(asked)  # asked for again, later
            elif asked:
                raise SubscriptionRejected(reason, asked, self._native(asked[0]) if len(asked) == 1 else "")
            else:
                raise FrameError(f"the exchange says: {reason}")
        elif asked:
            granted = set(wire.decode_names(head.result))
            if missing := [topic for topic in asked if topic not in granted]:
                # It grants what it knows and passes over the rest.
                raise SubscriptionRejected(
                    "not granted", missing, self._native(missing[0]) if len(missing) == 1 else ""
                )
        return ()

    @staticmethod
    def _native(topic: str) -> str:
        return topic.split(".")[2 if topic.startswith("chart.") else 1]

    def _feed(self, channel: str, native: str) -> Feed | None:
        """The feed of an instrument; None for options and combos, which we do not follow."""
        try:
            return self.feeds.channel(channel)[native]
        except UnknownSymbol:
            if wire.FOREIGN.fullmatch(native):
                return None
            raise

    def _prints(self, them: list[wire.Print], received: int, _: str) -> Sequence[Event]:
        events: list[Event] = []
        for it in them:
            feed = self._feed("trades", it.instrument_name)
            if feed is None:
                continue
            feed.frames += 1
            told = self.told(it, received)
            feed.step(it.trade_seq, self.at(it.timestamp, received), received)
            events += told
        return events

    def told(self, it: wire.Print, received: int) -> list[Event]:
        """The trade as far as it met the book, and the liquidation it was."""
        feed, at = self.feeds.channel("trades")[it.instrument_name], self.at(it.timestamp, received)
        if it.direction not in ("buy", "sell"):
            raise FrameError(f"direction {it.direction!r}")
        trade = self.fill(feed, at, received, it.trade_id, it.price, it.amount, it.direction == "sell")
        if not 0 <= it.trade_seq < 1 << 63:
            raise FrameError(f"impossible sequence {it.trade_seq}")
        events: list[Event] = []
        # Blocks and legs of combos are agreed off this book: they take a number and are no trades of it.
        if it.block_trade_id is None and it.block_rfq_id is None and it.combo_id is None:
            if "trades" in self.options.channels:
                events.append(trade)
            if it.liquidation is not None and "liquidations" in self.options.channels:
                events += self._liquidations(it, at, received)
        return events

    def _liquidations(self, it: wire.Print, at: int, received: int) -> Sequence[Event]:
        """The liquidated order's side is the taker's for T, the opposite for M; who sells loses a long."""
        feed = self.feeds.channel("liquidations")[it.instrument_name]
        feed.frames += 1
        found = []
        for who in set(it.liquidation or "") & {"M", "T"}:
            side: Side = "long" if (it.direction == "sell") == (who == "T") else "short"
            name = f"{it.trade_id}-{who}"
            found.append(self.forced(feed, at, received, name, side, it.price, it.amount, "all"))
        return sorted(found, key=lambda event: event.liquidation_id)

    def _book(self, it: wire.Book, received: int, _: str) -> Sequence[Event]:
        feed = self._feed("books", it.instrument_name)
        if feed is None:
            return ()
        feed.frames += 1
        at = self.at(it.timestamp, received)
        if 0 < time.floor(at, self.options.book_every) <= feed.slot:
            return ()
        bids, asks = (self._levels(feed, side) for side in (it.bids, it.asks))
        return self.book(feed, at, received, it.change_id, bids, asks)

    def _levels(self, feed: Feed, side: list[tuple[float, float]]) -> list[Level]:
        shown = side[: self.options.book_depth]
        return [(price, sized(feed, price, amount, "book")[0]) for price, amount in shown]

    def _ticker(self, it: wire.Ticker, received: int, _: str) -> Sequence[Event]:
        funding, interest = self._feed("funding", it.instrument_name), self._feed("open_interest", it.instrument_name)
        if funding is None or interest is None:
            return ()
        at, mark, held = self.at(it.timestamp, received), it.mark_price, it.open_interest
        funding.frames += 1
        interest.frames += 1
        events: list[Event] = []
        if it.current_funding is not None and "funding" in self.options.channels:
            events += self.funding(funding, at, received, it.current_funding, None, mark, it.index_price, 8.0)
        if held is not None and "open_interest" in self.options.channels:
            if not mark > 0.0:
                raise FrameError(f"mark price {mark!r}")
            coins, value = (held / mark, held) if interest.instrument.inverse else (held, held * mark)
            setup = Setup(self.exchange, self.feeds, self.options)
            events += open_interest(setup, interest, at, received, coins, value)
        return events

    def _bar(self, it: wire.Bar, received: int, channel: str) -> Sequence[Event]:
        _, _, native, resolution = channel.split(".") if channel.count(".") == 3 else ("", "", "", "")
        interval = _INTERVALS.get(resolution)
        feed = self._feed("klines", native) if interval is not None else None
        if feed is None or interval is None:
            return ()
        feed.frames += 1
        at = self.at(it.tick, received)
        if time.floor(at, time.duration(interval)) != at:
            return ()  # a day that does not begin at 00:00 UTC is none of ours
        candle = Candle(at, (it.open, it.high, it.low, it.close), it.volume, it.cost)
        closed = self._forming.follow(feed, interval, (candle,))
        return [self.kline(feed, c.timestamp, received, interval, c.prices, c.volume, c.value, None) for c in closed]


# --- declarations ----------------------------------------------------------------------------------------------
def _topic(form: str, silence_s_max: float = 0.0, its: Past | None = None) -> Channel:
    def topics(native: str, _: Options) -> Sequence[Topic]:
        return (Topic(_WS, form.format(native)),)

    return Channel(topics=topics, silence_s_max=silence_s_max, past=its)


def _ask_trades(native: str, reach: Reach) -> Request:
    bounds = f"start_seq={max(reach.first - 1, 1)}&end_seq={reach.last + 1}"
    query = f"instrument_name={native}&{bounds}&count=1000&sorting=asc"
    return Request(f"{_REST}/get_last_trades_by_instrument?{query}", 1, native)


def _past(body: bytes, _: Request, received: int, setup: Setup) -> Sequence[Row]:
    it = Session(setup)
    return [
        Row(f.trade_seq, it.at(f.timestamp, received), it.told(f, received))
        for f in wire.decode_past(body).result.trades
    ]


def _ask_recent(native: str, start: int, end: int) -> Request:
    bounds = f"start_timestamp={start // 1_000}&end_timestamp={-(-end // 1_000)}"
    query = f"instrument_name={native}&{bounds}&count={_PAGE}&sorting=asc"
    return Request(f"{_REST}/get_last_trades_by_instrument_and_time?{query}", 1, native, start=start, end=end)


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = _past(body, request, received, setup)

    def following(newest: Row) -> Request:
        query = f"instrument_name={request.symbol}&start_seq={newest.number + 1}&count={_PAGE}&sorting=asc"
        return Request(f"{_REST}/get_last_trades_by_instrument?{query}", 1)

    return forwards(request, rows, full=len(rows) >= _PAGE, following=following)


def _book_topics(native: str, options: Options) -> Sequence[Topic]:
    depth = next((n for n in (1, 10, 20) if n >= options.book_depth), 20)
    return (Topic(_WS, f"book.{native}.none.{depth}.100ms"),)


def _kline_topics(native: str, options: Options) -> Sequence[Topic]:
    found = [past.RESOLUTIONS[word] for word in options.intervals if word in past.RESOLUTIONS]
    return [Topic(_WS, f"chart.trades.{native}.{resolution}") for resolution in found]


EXCHANGES = (
    Exchange(
        id="deribit",
        alternates={"wss://www.deribit.com": ("wss://streams.deribit.com",)},
        session=Session,
        channels={
            "trades": _topic("trades.{}.100ms", 1800.0),
            "liquidations": _topic("trades.{}.100ms"),
            "books": Channel(topics=_book_topics, silence_s_max=300.0),
            "klines": Channel(topics=_kline_topics, silence_s_max=1800.0, past=past.KLINES),
            "funding": _topic("ticker.{}.agg2", 120.0, past.FUNDING),
            "open_interest": _topic("ticker.{}.agg2", 120.0),
        },
        limits=Limits(topics_per_connection=400, topics_per_request=100, requests_per_s=2.0),
        rest=Rest(
            weight_max=1200,
            problem=wire.problem,
            instruments=(
                Request(f"{_REST}/get_instruments?currency=any&kind=future&expired=false", 20),
                Request(f"{_REST}/get_instruments?currency=any&kind=spot&expired=false", 20),
            ),
            time=ServerTime(Request(f"{_REST}/get_time"), ("result",)),
        ),
        instruments=wire.instruments,
        named=wire.named,
        spelled=wire.spelled,
        history=History(request=_ask_trades, parse=_past),
        recent=Recent(request=_ask_recent, parse=_recent),
    ),
)
