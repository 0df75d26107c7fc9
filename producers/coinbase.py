"""Coinbase Exchange: trades and books without keys; candles by REST.

A match names the MAKER's side: ``sell`` means that the aggressor bought. Trade ids are dense per product, and the
heartbeat says every second which was the last, so that a trade that never came is noticed without waiting for the next.
Field semantics: docs/exchanges.md#coinbase.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import partial

import msgspec

from producers import _candles
from producers import _coinbase_past as past
from producers import _coinbase_wire as wire
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
from producers._ladder import Ladder, suspects
from producers._session import NAME_MAX, BaseSession
from schemas import time
from schemas.events import Event

_SOCKET, _REST = "wss://ws-feed.exchange.coinbase.com/", past.REST
_TYPE = b'{"type":"'
_PRODUCT = re.compile(rb'"product_id":\s*"([^"\\]{1,64})"')
_KINDS = {"match": "trade", "last_match": "trade", "heartbeat": "trade", "snapshot": "book", "l2update": "book"}
_MISSING_MAX = 2
_LEVELS_MAX = 500_000
_HARMLESS = ("match", "last_match", "heartbeat", "subscriptions", "error")
"""What is lost with a bad message of these shows elsewhere; any other might have been a change of a book."""


class Session(BaseSession):
    """A connection to the feed. Topics are ``<channel>:<product>``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._trades, self._books = self.feeds.channel("trades"), self.feeds.channel("books")
        self._ladders: dict[str, Ladder] = {}
        self._asked: deque[tuple[str, ...]] = deque(maxlen=1_000)
        """Topics of requests without an answer yet; answers come in order and name no request."""
        self._missing: dict[str, int] = {}
        """By product: heartbeats, since the last trade came, that told of trades which had not."""

    def subscribe(self, topics: Sequence[str]) -> bytes:
        self._asked.append(tuple(topics))
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        self._asked.append(())
        return self._ask("unsubscribe", topics)

    @staticmethod
    def _ask(word: str, topics: Sequence[str]) -> bytes:
        channels: dict[str, list[str]] = {}
        for channel, _, product in (topic.partition(":") for topic in topics):
            channels.setdefault(channel, []).append(product)
        asked = [{"name": name, "product_ids": products} for name, products in channels.items()]
        return msgspec.json.encode({"type": word, "channels": asked})

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        head = raw[9 : raw.find(b'"', 9)].decode() if raw.startswith(_TYPE) else wire.decode_head(raw).type
        try:
            return self._read(head, raw, received)
        except (FrameError, msgspec.MsgspecError, UnknownSymbol) as error:
            if head not in _HARMLESS:
                self._suspect(raw, received)
            raise FrameError(str(error)[:NAME_MAX], raw, _KINDS.get(head, "frame")) from error

    def _read(self, head: str, raw: bytes, received: int) -> Sequence[Event]:
        match head:
            case "match" | "last_match":
                return self._match(wire.decode_match(raw), received, replay=head == "last_match")
            case "l2update":
                return self._update(wire.decode_update(raw), received)
            case "heartbeat":
                self._heartbeat(wire.decode_heartbeat(raw), received)
            case "snapshot":
                return self._snapshot(wire.decode_snapshot(raw), received)
            case "error":
                self._refused(wire.decode_refusal(raw))
            case _:
                wire.decode_head(raw)  # of no use to us, but it has to be JSON
                if head == "subscriptions" and self._asked:
                    self._asked.popleft()
        return ()

    def _match(self, it: wire.Match, received: int, *, replay: bool) -> Sequence[Event]:
        feed = self._trades[it.product_id]
        feed.frames += 1
        self._missing.pop(it.product_id, None)
        if it.side not in ("buy", "sell"):
            raise FrameError(f"side {it.side!r}")
        timestamp = self.at_text(it.time, received)
        sold = it.side == "buy"  # the maker bought, so the aggressor sold
        trade = self.trade(feed, timestamp, received, it.trade_id, it.price, it.size, sold)
        if replay:
            return self.replay(feed, [(it.trade_id, trade)], received)
        feed.step(it.trade_id, timestamp, received)
        return (trade,)

    def _heartbeat(self, it: wire.Heartbeat, received: int) -> None:
        feed = self._trades[it.product_id]
        if not feed.exists(it.last_trade_id, self.at_text(it.time, received), received):
            feed.frames += 1  # nothing has traded: the silence is known to be normal
            return
        self._missing[it.product_id] = self._missing.get(it.product_id, 0) + 1
        if self._missing[it.product_id] >= _MISSING_MAX:
            # Trades go on and none of them comes: the subscription is dead although the socket is not.
            self.broken.add(f"matches:{it.product_id}")
            del self._missing[it.product_id]

    def _snapshot(self, it: wire.Snapshot, received: int) -> Sequence[Event]:
        feed = self._books[it.product_id]
        feed.frames += 1
        ladder = self._ladders.setdefault(it.product_id, Ladder(_LEVELS_MAX))
        ladder.begin(it.bids, it.asks, 0)
        if received and not it.time:  # our clock and the exchange's must not take turns in filling slots
            return ()
        return ladder.book(self, feed, self.at_text(it.time, received) if it.time else received, received)

    def _update(self, it: wire.Update, received: int) -> Sequence[Event]:
        feed = self._books[it.product_id]
        feed.frames += 1
        ladder = self._ladders.setdefault(it.product_id, Ladder(_LEVELS_MAX))
        timestamp = self.at_text(it.time, received)
        sides: dict[str, list[tuple[float, float]]] = {"buy": [], "sell": []}
        for side, price, size in it.changes:
            if side not in sides:
                raise FrameError(f"side {side[:NAME_MAX]!r}")
            sides[side].append((price, size))
        if ladder.whole:
            ladder.change(sides["buy"], sides["sell"], 0)
        else:  # without a beginning: its snapshot could not be read, or a change could not
            ladder.lost(self, feed, f"level2_batch:{it.product_id}", received)
        return ladder.book(self, feed, timestamp, received)

    def _suspect(self, raw: bytes, received: int) -> None:
        """A message of a book could not be read: it is no longer right, or none is where it cannot be told which."""
        for name in suspects(raw, _PRODUCT, self._ladders):
            self._ladders[name].lost(self, self._books[name], f"level2_batch:{name}", received)

    def _refused(self, it: wire.Refusal) -> None:
        """An error names no request but comes in its turn, and fails the whole of it."""
        asked = self._asked.popleft() if self._asked else ()
        reason = f"{it.message}: {it.reason}"[:NAME_MAX]
        if not asked:
            raise FrameError(f"the exchange says: {reason}")
        bad = [topic for topic in asked if topic.partition(":")[2] in it.reason.split()]
        good = [topic for topic in asked if topic not in bad]
        if bad and good:
            self.replies.append(self.subscribe(good))
        guilty = bad or good
        products = {topic.partition(":")[2] for topic in guilty}
        symbol = self.feeds.directory.of(min(products)).symbol if len(products) == 1 else ""
        raise SubscriptionRejected(reason, guilty[:1] if len(products) == 1 else guilty, symbol)


# --- declaration -----------------------------------------------------------------------------------------------
def _topics(native: str, _: Options, *, names: tuple[str, ...]) -> Sequence[Topic]:
    return [Topic(_SOCKET, f"{name}:{native}") for name in names]


_COINBASE = Exchange(
    id="coinbase",
    session=Session,
    channels={
        # The heartbeat comes every second even where nothing trades.
        "trades": Channel(topics=partial(_topics, names=("matches", "heartbeat")), silence_s_max=60.0),
        "books": Channel(topics=partial(_topics, names=("level2_batch",)), silence_s_max=600.0),
        "klines": Channel(
            poll=_candles.poll(past.LENGTHS, past.ROWS_MAX, past.ask_candles, wire.rows), past=past.KLINES
        ),
    },
    limits=Limits(
        topics_per_connection=200, topics_per_request=60, requests_per_s=4.0, connects_per_s=1.0,
        frame_bytes_max=32 << 20,  # the whole book comes in one message
    ),
    rest=Rest(
        weight_max=10, window_s=1.0, problem=wire.problem, instruments=(Request(f"{_REST}/products"),),
        time=ServerTime(Request(f"{_REST}/time"), ("epoch",), time.SECOND),
    ),
    instruments=wire.instruments,
    named=wire.named,
    spelled=wire.spelled,
    history=History(request=past.ask_trades, parse=past.fills, newest_first=True),
    recent=past.RECENT,
)  # fmt: skip

EXCHANGES = (_COINBASE,)
