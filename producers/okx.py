"""OKX v5: spot pairs, and swaps and dated futures. Fields and units: docs/exchanges.md#okx.

``side`` is the aggressor's. The id unit is that of ``trades-all``, one id a fill, which REST history returns too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from producers import _okx_past as past
from producers import _okx_wire as wire
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
)
from producers._ladder import Ladder, in_base
from producers._okx_requests import Requests, target
from producers._session import BaseSession, open_interest
from schemas import time
from schemas.events import Event, Side

T = TypeVar("T")
_PUSHED = b'{"arg":{"channel":"'
_AHEAD_MAX = 7 * time.DAY
_CANDLES = {f"candle{w}": w for w in ("1s", "1m", "3m", "5m", "15m", "30m")}
_CANDLES |= {f"candle{n}H": f"{n}h" for n in (1, 2, 4)}
# From six hours on the plain name means candles of Hong Kong's days.
_CANDLES |= {"candle6Hutc": "6h", "candle12Hutc": "12h", "candle1Dutc": "1d", "candle3Dutc": "3d", "candle1Wutc": "1w"}
_CHANNELS = {interval: channel for channel, interval in _CANDLES.items()}


class Session(BaseSession):
    """A connection to one of OKX's sockets. ``dashes``: how many a name of this market has."""

    def __init__(self, setup: Setup, *, dashes: int) -> None:
        super().__init__(setup)
        self._setup, self._dashes = setup, dashes
        self._builders: dict[str, Callable[[Any, int], Sequence[Event]]] = {
            "trades-all": self._trades, "trades": self._aggregates, "books": self._changes, "books5": self._tops,
            "candle": self._candles, "liquidation-orders": self._liquidations, "funding-rate": self._rates,
            "mark-price": self._marks, "index-tickers": self._indexes, "open-interest": self._interest,
        }  # fmt: skip
        self._requests = Requests()
        self._ladders: dict[str, Ladder] = {}
        self._mark: dict[str, float] = {}
        self._index: dict[str, float] = {}
        self._rate: dict[str, tuple[float, int, float | None]] = {}

    def subscribe(self, topics: Sequence[str]) -> bytes:
        return self._requests.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        return self._requests.unsubscribe(topics)

    # --- frames ------------------------------------------------------------------------------------------------
    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        if raw.startswith(_PUSHED):
            return self._pushed(raw[19 : raw.find(b'"', 19)].decode(), raw, received)
        if raw == b"pong":
            return ()
        head = wire.decode_head(raw)
        if head.event == "error":
            self._refused(head)
        if head.event == "notice":
            self.ending = f"notice {head.code}: {head.msg[:80]}"
        if head.event or head.arg is None or not bytes(head.data):
            return ()
        return self._pushed(head.arg.channel, raw, received)

    def _pushed(self, channel: str, raw: bytes, received: int) -> Sequence[Event]:
        word = "candle" if channel in _CANDLES else channel
        build = self._builders.get(word)
        if build is None:
            return ()
        try:
            return build(wire.DECODE[word](raw), received)
        except FrameError as error:
            error.kind = wire.KINDS[word]
            raise
        except msgspec.MsgspecError as error:
            raise FrameError(str(error), raw, wire.KINDS[word]) from error

    def _refused(self, head: wire.Head) -> None:
        match = wire.REFUSED.search(head.msg)
        channel, of = match.groups() if match else ("", "")
        topics = self._requests.refused(channel, of, head.id)
        if not topics:
            raise FrameError(f"the exchange says: {head.code} {head.msg}")
        symbol = self.feeds.directory.of(topics[0].partition(":")[2]).symbol if len(topics) == 1 else ""
        raise SubscriptionRejected(head.msg, topics, symbol)

    def _ours(self, native: str) -> bool:
        """Whether a name is of this market; spot and contracts share the sockets, so recordings mix them."""
        return native.count("-") == self._dashes

    # --- trades and liquidations -------------------------------------------------------------------------------
    def _trades(self, frame: Any, received: int) -> Sequence[Event]:
        return self._executed("trades", frame, received)

    def _aggregates(self, frame: Any, received: int) -> Sequence[Event]:
        return self._executed("aggregates", frame, received)

    def _executed(self, channel: str, frame: Any, received: int) -> Sequence[Event]:
        events: list[Event] = []
        for it in frame.data:
            if not self._ours(it.instId):
                continue
            feed = self.feeds.channel(channel)[it.instId]
            feed.frames += 1
            if it.side not in ("buy", "sell") or not 0 < it.count < 1 << 31 or not 0 <= it.tradeId < 1 << 63:
                raise FrameError(f"side {it.side!r}, count {it.count} or trade id {it.tradeId}")
            at = self.at(it.ts, received)
            trade = self.fill(feed, at, received, str(it.tradeId), it.px, it.sz, it.side == "sell")
            if channel == "trades":
                feed.step(it.tradeId, at, received)
            else:
                trade.fills = it.count
            events.append(trade)
        return events

    def _liquidations(self, frame: Any, received: int) -> Sequence[Event]:
        wants = partial(self._requests.wants, "liquidation-orders", frame.arg.instType)
        events: list[Event] = []
        for it in frame.data:
            if not self._ours(it.instId) or not wants(it.instId):
                continue  # the subscription is for a whole market
            feed = self.feeds.channel("liquidations")[it.instId]
            feed.frames += 1
            equal: Counter[str] = Counter()
            for its in it.details:
                side = _position(its)
                content = f"{its.ts}-{side}-{its.bkPx}-{its.sz}"
                name = f"{content}-{equal[content]}"
                equal[content] += 1
                at = self.at(its.ts, received)
                events.append(self.forced(feed, at, received, name, side, its.bkPx, its.sz, "sampled"))
        return events

    # --- books and candles -------------------------------------------------------------------------------------
    def _tops(self, frame: Any, received: int) -> Sequence[Event]:
        native = frame.arg.instId
        events: list[Event] = []
        for it in frame.data if self._ours(native) else ():
            feed = self.feeds.channel("books")[native]
            feed.frames += 1
            at, sequence = self.at(it.ts, received), max(it.seqId, 0)
            events += self.book(feed, at, received, sequence, in_base(feed, it.bids), in_base(feed, it.asks))
        return events

    def _changes(self, frame: Any, received: int) -> Sequence[Event]:
        native = frame.arg.instId
        events: list[Event] = []
        for it in frame.data if self._ours(native) else ():
            feed, ladder = self.feeds.channel("books")[native], self._ladders.setdefault(native, Ladder())
            at = self.at(it.ts, received)
            if frame.action == "snapshot":
                ladder.begin(it.bids, it.asks, it.seqId)
            elif not ladder.whole or it.prevSeqId not in (None, ladder.sequence):  # None: before there was a chain
                ladder.lost(self, feed, f"books:{native}", received)
                continue  # and not counted as heard
            else:
                ladder.change(it.bids, it.asks, it.seqId)
            feed.frames += 1
            events += ladder.book(self, feed, at, received)
        return events

    def _candles(self, frame: Any, received: int) -> Sequence[Event]:
        native, interval = frame.arg.instId, _CANDLES.get(frame.arg.channel)
        if interval is None:  # the frame was told apart by its first bytes
            raise FrameError(f"a candle of channel {frame.arg.channel!r}"[:100])
        if not self._ours(native):
            return ()
        feed = self.feeds.channel("klines")[native]
        feed.frames += 1
        events: list[Event] = []
        for it in frame.data:
            at = self.at(it.ts, received)
            volume = it.v if feed.instrument.kind == "spot" else it.first
            if it.confirm == "1":
                prices = (it.o, it.h, it.low, it.c)
                events.append(self.kline(feed, at, received, interval, prices, volume, it.second, None))
        return events

    # --- funding and open interest -----------------------------------------------------------------------------
    def _rates(self, frame: Any, received: int) -> Sequence[Event]:
        events: list[Event] = []
        for it in frame.data:
            if not self._ours(it.instId) or not it.fundingRate:
                continue
            at = self.at(_number(int, it.ts), received) if it.ts else received
            ends, following = it.fundingTime, _number(int, it.nextFundingTime) if it.nextFundingTime else 0
            if not time.EARLIEST <= time.micros(ends) < (at + _AHEAD_MAX if at else 1 << 52):
                raise FrameError(f"impossible funding time {ends}")
            hours = (following - ends) / 3.6e6 if 0 < following - ends <= _AHEAD_MAX // 1_000 else None
            self._rate[it.instId] = (_number(float, it.fundingRate), time.micros(ends), hours)
            events += self._funding(it.instId, at, received)
        return events

    def _marks(self, frame: Any, received: int) -> Sequence[Event]:
        """Marks come several times a second and rates once a minute: each fills the slots with what is known."""
        events: list[Event] = []
        for it in frame.data if self._ours(frame.arg.instId) else ():
            at = self.at(it.ts, received)
            self._mark[it.instId] = it.markPx
            if it.instId in self._rate and at <= self._rate[it.instId][1]:
                events += self._funding(it.instId, at, received)
        return events

    def _indexes(self, frame: Any, received: int) -> Sequence[Event]:
        for it in frame.data:
            self.at(it.ts, received)
            self._index[it.instId] = it.idxPx
        return ()

    def _funding(self, native: str, at: int, received: int) -> Sequence[Event]:
        feed = self.feeds.channel("funding")[native]
        feed.frames += 1
        rate, ends, hours = self._rate[native]
        index = self._index.get(target(f"index-tickers:{native}")[1])
        return self.funding(feed, at, received, rate, ends, self._mark.get(native), index, hours)

    def _interest(self, frame: Any, received: int) -> Sequence[Event]:
        events: list[Event] = []
        for it in frame.data:
            if not self._ours(it.instId):
                continue
            feed = self.feeds.channel("open_interest")[it.instId]
            feed.frames += 1
            value = it.oi * feed.instrument.contract_size if feed.instrument.inverse else None
            events += open_interest(self._setup, feed, self.at(it.ts, received), received, it.oiCcy, value)
        return events


def _number(kind: Callable[[str], T], text: str) -> T:
    try:
        return kind(text)
    except ValueError as error:
        raise FrameError(f"number {text!r}"[:100]) from error


def _position(it: wire.Detail) -> Side:
    """The position closed: in net mode only the order's side tells, and a long is closed by selling."""
    if it.posSide == "long" or (it.posSide != "short" and it.side == "sell"):
        return "long"
    if it.posSide == "short" or it.side == "buy":
        return "short"
    raise FrameError(f"side {it.side!r} of position {it.posSide!r}")


# --- declarations ----------------------------------------------------------------------------------------------
_PUBLIC, _BUSINESS = "wss://ws.okx.com:8443/ws/v5/public", "wss://ws.okx.com:8443/ws/v5/business"
_REST = past.REST


def _topic(native: str, _: Options, *, url: str, name: str) -> Sequence[Topic]:
    return (Topic(url, f"{name}:{native}"),)


def _book_topic(native: str, options: Options) -> Sequence[Topic]:
    return (Topic(_PUBLIC, f"{'books5' if options.book_depth <= 5 else 'books'}:{native}"),)


def _candle_topics(native: str, options: Options) -> Sequence[Topic]:
    return [Topic(_BUSINESS, f"{_CHANNELS[i]}:{native}") for i in options.intervals if i in _CHANNELS]


def _funding_topics(native: str, _: Options) -> Sequence[Topic]:
    if not (native.endswith("-SWAP") or "XPERP" in native):
        return ()  # a dated future has no funding
    return [Topic(_PUBLIC, f"{name}:{native}") for name in ("mark-price", "index-tickers", "funding-rate")]


_HISTORY = History(request=past.ask_trades, parse=past.fills, newest_first=True)


def _rest(*kinds: str) -> Rest:
    return Rest(
        weight_max=20,
        window_s=2.0,
        problem=wire.problem,
        instruments=tuple(Request(f"{_REST}/public/instruments?instType={kind}") for kind in kinds),
        volumes=Request(f"{_REST}/market/tickers?instType={kinds[0]}"),
        time=ServerTime(Request(f"{_REST}/public/time"), ("data", 0, "ts")),
    )


_LIVE = {
    "trades": Channel(topics=partial(_topic, url=_BUSINESS, name="trades-all"), silence_s_max=600.0),
    "books": Channel(topics=_book_topic, silence_s_max=600.0),
    "klines": Channel(topics=_candle_topics, silence_s_max=300.0, past=past.KLINES),
}
# 480 requests an hour and connection; three topics make a symbol's funding, so none is split between connections.
_LIMITS = Limits(topics_per_connection=240, topics_per_request=60, requests_per_s=2.0, ping=b"ping", ping_every_s=20.0)

_OKX = Exchange(
    id="okx",
    session=partial(Session, dashes=1),
    channels=_LIVE,
    limits=_LIMITS,
    rest=_rest("SPOT"),
    instruments=partial(wire.instruments, kinds=("SPOT",)),
    volumes=partial(wire.volumes, contracts=False),
    named=wire.named_spot,
    spelled=wire.spelled_spot,
    history=_HISTORY,
    recent=past.RECENT,
)

_OKX_FUTURES = Exchange(
    id="okx_futures",
    session=partial(Session, dashes=2),
    channels={
        **_LIVE,
        # At most one liquidation of a contract a second is published.
        "liquidations": Channel(topics=partial(_topic, url=_PUBLIC, name="liquidation-orders"), coverage="sampled"),
        "funding": Channel(topics=_funding_topics, silence_s_max=120.0, past=past.FUNDING),
        "open_interest": Channel(
            topics=partial(_topic, url=_PUBLIC, name="open-interest"), silence_s_max=300.0, past=past.OPEN_INTEREST
        ),
    },
    limits=_LIMITS,
    rest=_rest("SWAP", "FUTURES"),
    instruments=partial(wire.instruments, kinds=("SWAP", "FUTURES")),
    volumes=partial(wire.volumes, contracts=True),
    named=wire.named_contract,
    spelled=wire.spelled_contract,
    history=_HISTORY,
    recent=past.RECENT,
)

EXCHANGES = (_OKX, _OKX_FUTURES)
