"""Kraken Futures, WebSocket v1: linear (``PF_``, ``FF_``) and inverse (``PI_``, ``FI_``) contracts.

Sizes are contracts: base units of a linear one, dollars of an inverse one. Trades are named by ``uid``; their dense
``seq`` tells holes. Liquidations are trades of that type. Field semantics: docs/exchanges.md#kraken_futures.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import partial

import msgspec

from producers import _candles
from producers import _kraken_futures_past as past
from producers import _kraken_futures_wire as wire
from producers._exchange import (
    Channel,
    Exchange,
    FrameError,
    History,
    Limits,
    Options,
    Page,
    Reach,
    Recent,
    Request,
    Rest,
    Row,
    Setup,
    SubscriptionRejected,
    Topic,
)  # fmt: skip
from producers._feeds import UnknownSymbol
from producers._ladder import Ladder
from producers._recent import backwards
from producers._session import NAME_MAX, BaseSession, open_interest, sized
from schemas import time
from schemas.events import Event, Liquidation, Side, Trade

_SOCKET, _REST = "wss://futures.kraken.com/ws/v1", past.REST
_FEED = b'{"feed":"'
_KINDS = {
    "trade": "trade", "trade_snapshot": "trade", "book": "book", "book_snapshot": "book", "ticker": "funding",
}  # fmt: skip
_ON_BOOK = ("fill", "liquidation")
_OFF_BOOK = ("assignment", "termination", "block")  # they take a seq too, but never met the book
_DATED = re.compile(r".*_\d{6}")
_PAGE = 100
_REFUSALS = ("subscribed_failed", "error", "alert")


class Session(BaseSession):
    """A connection. Topics are ``<feed>:<product>``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._setup = setup
        self._ladders: dict[str, Ladder] = {}
        self._asked: deque[set[str]] = deque(maxlen=1_000)
        """Topics of each request that were not acknowledged yet; errors name no request."""

    def subscribe(self, topics: Sequence[str]) -> bytes:
        self._asked.append(set(topics))
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._ask("unsubscribe", topics)

    @staticmethod
    def _ask(event: str, topics: Sequence[str]) -> bytes:
        products = [topic.partition(":")[2] for topic in topics]
        return msgspec.json.encode({"event": event, "feed": topics[0].partition(":")[0], "product_ids": products})

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        feed = raw[9 : raw.find(b'"', 9)].decode() if raw.startswith(_FEED) else ""
        if feed not in _KINDS:
            feed = self._control(raw)
        try:
            match feed:
                case "trade":
                    return self._trade(wire.decode_print(raw), received)
                case "book":
                    return self._change(wire.decode_change(raw), received)
                case "ticker":
                    return self._ticker(wire.decode_ticker(raw), received)
                case "book_snapshot":
                    return self._snapshot(wire.decode_snapshot(raw), received)
                case "trade_snapshot":
                    return self._replay(wire.decode_replay(raw), received)
        except (FrameError, msgspec.MsgspecError, UnknownSymbol) as error:
            raise FrameError(str(error)[:NAME_MAX], raw, _KINDS[feed]) from error
        return ()

    # --- answers -----------------------------------------------------------------------------------------------
    def _control(self, raw: bytes) -> str:
        """Answers to requests; returns the feed of anything else, whose keys may stand in any order."""
        head = wire.decode_head(raw)
        if head.event == "subscribed":
            for asked in self._asked:
                asked.difference_update(f"{head.feed}:{product}" for product in head.product_ids)
            while self._asked and not self._asked[0]:
                self._asked.popleft()
        elif head.event in _REFUSALS and not head.message.startswith("Already subscribed"):
            self._refused(head)
        return "" if head.event else head.feed

    def _refused(self, head: wire.Head) -> None:
        reason = f"{head.event}: {head.message}"[:NAME_MAX]
        guilty = [f"{head.feed}:{product}" for product in head.product_ids]
        while not guilty and self._asked:
            guilty = sorted(self._asked.popleft())
        if not guilty:
            raise FrameError(f"the exchange says: {reason}")
        symbol = self.feeds.directory.of(guilty[0].partition(":")[2]).symbol if len(guilty) == 1 else ""
        raise SubscriptionRejected(reason, guilty, symbol)

    # --- trades ------------------------------------------------------------------------------------------------
    def _trade(self, it: wire.Print, received: int) -> Sequence[Event]:
        trade = self._made(it, received)
        feed = self.feeds.channel("trades")[it.product_id]
        feed.step(it.seq, trade.timestamp, received)
        return self._told(it, trade)

    def _replay(self, frame: wire.Replay, received: int) -> Sequence[Event]:
        prints = {it.seq: it for it in frame.trades if it.product_id == frame.product_id}
        trades = {seq: self._made(it, received) for seq, it in prints.items()}
        news = self.replay(self.feeds.channel("trades")[frame.product_id], trades.items(), received)
        names = {id(trade): seq for seq, trade in trades.items()}
        return [event for trade in news for event in self._told(prints[names[id(trade)]], trade)]

    def past(self, it: wire.Print, received: int) -> list[Event]:
        """Events of a trade that REST tells of."""
        return self._told(it, self._made(it, received))

    def _made(self, it: wire.Print, received: int) -> Trade:
        feed = self.feeds.channel("trades")[it.product_id]
        feed.frames += 1
        self.feeds.channel("liquidations")[it.product_id].frames += 1
        if it.side not in ("buy", "sell") or not 0 <= it.seq < 1 << 63:
            raise FrameError(f"side {it.side[:NAME_MAX]!r} or seq {it.seq}")
        if it.type not in (*_ON_BOOK, *_OFF_BOOK):
            raise FrameError(f"type {it.type[:NAME_MAX]!r}")
        # Recordings of before 2019-09 have no uid.
        name = it.uid or str(it.seq)
        return self.fill(feed, self.at(it.time, received), received, name, it.price, it.qty, it.side == "sell")

    def _told(self, it: wire.Print, trade: Trade) -> list[Event]:
        """The trade as far as it met the book, and the liquidation it was."""
        wanted, events = self.options.channels, list[Event]()
        if it.type in _ON_BOOK and "trades" in wanted:
            events.append(trade)
        if it.type == "liquidation" and "liquidations" in wanted:
            # The side is that of the forced order: a long is closed by selling.
            side: Side = "long" if trade.is_buyer_maker else "short"
            events.append(
                Liquidation(self.exchange, trade.symbol, trade.timestamp, trade.received, trade.trade_id, side,
                            trade.price, trade.quantity, trade.value, "all")
            )  # fmt: skip
        return events

    # --- books -------------------------------------------------------------------------------------------------
    def _snapshot(self, it: wire.Snapshot, received: int) -> Sequence[Event]:
        feed, ladder = self.feeds.channel("books")[it.product_id], self._ladders.setdefault(it.product_id, Ladder())
        feed.frames += 1
        bids, asks = ([(level.price, level.qty) for level in side] for side in (it.bids, it.asks))
        ladder.begin(bids, asks, it.seq)
        return ladder.book(self, feed, self.at(it.timestamp, received) if it.timestamp else received, received)

    def _change(self, it: wire.Change, received: int) -> Sequence[Event]:
        feed, ladder = self.feeds.channel("books")[it.product_id], self._ladders.setdefault(it.product_id, Ladder())
        feed.frames += 1
        if it.side not in ("buy", "sell"):
            raise FrameError(f"side {it.side[:NAME_MAX]!r}")
        if ladder.whole and it.seq <= ladder.sequence:
            return ()  # the snapshot knew it already
        if not ladder.whole or it.seq != ladder.sequence + 1:
            ladder.lost(self, feed, f"book:{it.product_id}", received)
            return ()
        # A message is one level of several that change together: what is told is the book before the first of a slot.
        events = ladder.book(self, feed, self.at(it.timestamp, received) if it.timestamp else received, received)
        level = [(it.price, it.qty)]
        ladder.change(level if it.side == "buy" else (), level if it.side == "sell" else (), it.seq)
        return events

    # --- ticker ------------------------------------------------------------------------------------------------
    def _ticker(self, it: wire.Ticker, received: int) -> Sequence[Event]:
        at, wanted, events = self.at(it.time, received), self.options.channels, list[Event]()
        feed = self.feeds.channel("funding")[it.product_id]
        feed.frames += 1
        if "funding" in wanted and it.relative_funding_rate is not None:
            ends = time.micros(it.next_funding_rate_time) if it.next_funding_rate_time else None
            rate = it.relative_funding_rate
            events += self.funding(feed, at, received, rate, ends, it.markPrice, it.index, past.HOURS)
        feed = self.feeds.channel("open_interest")[it.product_id]
        feed.frames += 1
        if "open_interest" in wanted and it.openInterest is not None and it.markPrice is not None:
            held = sized(feed, it.markPrice, it.openInterest, "open_interest") if it.openInterest else (0.0, 0.0)
            events += open_interest(self._setup, feed, at, received, *held)
        return events


# --- declaration -----------------------------------------------------------------------------------------------
def _topic(native: str, _: Options, *, name: str) -> Sequence[Topic]:
    return (Topic(_SOCKET, f"{name}:{native}"),)


def _funding_topic(native: str, _: Options) -> Sequence[Topic]:
    return () if _DATED.fullmatch(native) else (Topic(_SOCKET, f"ticker:{native}"),)


def _ask_trades(native: str, reach: Reach) -> Request:
    # By time only, a hundred before it: a millisecond late, so that the trade after the last is among them.
    return _ask_before(native, reach.before + time.MILLISECOND)


def _ask_before(native: str, until: int) -> Request:
    return Request(f"{_REST}/derivatives/api/v3/history?symbol={native}&lastTime={time.iso(until)[:23]}Z", 10, native)


def _ask_recent(native: str, start: int, end: int) -> Request:
    return _ask_before(native, end + time.MILLISECOND)._replace(start=start, end=end)


def _past(body: bytes, request: Request, received: int, setup: Setup) -> Sequence[Row]:
    it, rows = Session(setup), list[Row]()
    for f in wire.decode_past(body).history:
        ms = it.at_text(f.time, received) // time.MILLISECOND  # what the socket gives
        made = wire.Print(request.symbol, f.side, f.trade_id, ms, f.size, f.price, f.type, f.uid)
        rows.append(Row(f.trade_id, ms * time.MILLISECOND, it.past(made, received)))
    return rows


def _recent(body: bytes, request: Request, received: int, setup: Setup) -> Page:
    rows = _past(body, request, received, setup)

    def following(oldest: Row) -> Request:
        # Its own time once more, as others may share it; unless that is all the page holds.
        again = any(row.timestamp > oldest.timestamp for row in rows)
        return _ask_before(request.symbol, oldest.timestamp + (time.MILLISECOND if again else -time.MILLISECOND))

    return backwards(request, rows, full=len(rows) >= _PAGE, following=following)


_KRAKEN_FUTURES = Exchange(
    id="kraken_futures",
    session=Session,
    channels={
        "trades": Channel(topics=partial(_topic, name="trade"), silence_s_max=900.0),
        "liquidations": Channel(topics=partial(_topic, name="trade")),
        "books": Channel(topics=partial(_topic, name="book"), silence_s_max=120.0),
        "klines": Channel(
            poll=_candles.poll(past.LENGTHS, past.ROWS_MAX, past.ask_candles, wire.rows), past=past.KLINES
        ),
        "funding": Channel(topics=_funding_topic, silence_s_max=60.0, past=past.FUNDING),
        "open_interest": Channel(topics=partial(_topic, name="ticker"), silence_s_max=60.0),
    },
    limits=Limits(
        topics_per_connection=200, topics_per_request=50, requests_per_s=5.0, connects_per_s=0.5,
        together=lambda topic: topic.partition(":")[0],
    ),
    rest=Rest(
        weight_max=500, window_s=10.0, problem=wire.problem,
        instruments=(Request(f"{_REST}/derivatives/api/v3/instruments", 10),),
        volumes=Request(f"{_REST}/derivatives/api/v3/tickers", 10),
    ),
    instruments=wire.instruments,
    volumes=wire.volumes,
    named=wire.named,
    spelled=wire.spelled,
    history=History(request=_ask_trades, parse=_past, newest_first=True),
    recent=Recent(request=_ask_recent, parse=_recent),
)  # fmt: skip

EXCHANGES = (_KRAKEN_FUTURES,)
