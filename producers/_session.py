"""What every session shares: one way out for whatever is wrong with a frame, and checked constructors of events.

Builders refuse what must not enter the log: numbers that are not finite and positive, impossible timestamps.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf, isfinite
from operator import itemgetter

import msgspec

from producers._exchange import FrameError, Setup
from producers._feeds import Feed, UnknownSymbol
from schemas import time
from schemas.events import Book, Coverage, Event, Funding, Kline, Level, Liquidation, OpenInterest, Side, Source, Trade

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnknownSymbol)
_BUGS = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, AssertionError)
_LATEST = 4_102_444_800 * time.SECOND
"""2100-01-01: the bound where there is no clock to compare with."""
NAME_MAX = 128
REPLAY_MAX = 10 * time.MINUTE
"""How old a trade may be that a first subscription replays: consumers take it for late, not for another one."""
_ID = re.compile(r"[!-~]{1,128}")


class BaseSession:
    """A session's frame in and events out. Subclasses write ``read``, ``subscribe`` and ``unsubscribe``."""

    def __init__(self, setup: Setup) -> None:
        self.exchange, self.feeds, self.options = setup
        self.replies: deque[bytes] = deque(maxlen=100)
        self.latest = 0
        self.ending = ""
        self.broken: set[str] = set()

    def parse(self, raw: bytes, received: int) -> Sequence[Event]:
        """Events of one frame; ``received`` 0 means there is no clock (offline decoding)."""
        try:
            return self.read(raw, received)
        except FrameError as error:
            error.raw = raw
            raise
        except _UNREADABLE as error:
            raise FrameError(f"{type(error).__name__}: {error}"[:NAME_MAX], raw) from error
        except _BUGS as error:
            # A bug of ours must look like a bad frame with a reason of its own, never like an outage.
            raise FrameError(f"parser bug: {type(error).__name__}: {error}"[:NAME_MAX], raw) from error

    def read(self, raw: bytes, received: int) -> Sequence[Event]:
        """As ``parse``, but may fail in any way."""
        raise NotImplementedError

    def at(self, value: int, received: int) -> int:
        """Microseconds of an exchange's time; raises FrameError where it is impossible."""
        return self._possible(time.micros(value), received)

    def at_text(self, text: str, received: int) -> int:
        """Microseconds of an exchange's ISO 8601 time, whatever its number of digits; what is finer is cut off."""
        try:
            timestamp = time.parse(text)
        except (ValueError, OverflowError) as error:
            raise FrameError(f"unreadable time {text[:NAME_MAX]!r}") from error
        return self._possible(timestamp, received)

    def _possible(self, timestamp: int, received: int) -> int:
        if not time.EARLIEST <= timestamp <= (received + time.AHEAD_MAX if received else _LATEST):
            raise FrameError(f"impossible timestamp {timestamp}")
        if timestamp > self.latest:
            self.latest = timestamp
        return timestamp

    def trade(
        self, feed: Feed, timestamp: int, received: int, number: int, price: float, quantity: float, sold: bool,
        fills: int = 1,
    ) -> Trade:  # fmt: skip
        """A trade with a numeric id; quantity in base units; ``sold``: the aggressor sold."""
        value = price * quantity
        if not (price > 0.0 and quantity > 0.0 and 0.0 < value < inf):
            raise FrameError(f"price {price!r} and quantity {quantity!r} are not finite and positive", kind="trade")
        if not (0 <= number < 1 << 63 and 0 < fills < 1 << 31):
            raise FrameError(f"impossible trade id {number} or fills {fills}", kind="trade")
        return Trade(
            self.exchange, feed.symbol, timestamp, received, str(number), price, quantity, value, sold, fills
        )  # fmt: skip

    def fill(
        self, feed: Feed, timestamp: int, received: int, name: str, price: float, size: float, sold: bool,
        fills: int = 1,
    ) -> Trade:  # fmt: skip
        """A trade by the exchange's own id, its ``size`` in the exchange's unit (``sized``)."""
        quantity, value = sized(feed, price, size, "trade")
        if _ID.fullmatch(name) is None:  # it becomes part of a message header
            raise FrameError(f"impossible trade id {name[:NAME_MAX]!r}", kind="trade")
        if not 0 < fills < 1 << 31:
            raise FrameError(f"impossible fills {fills}", kind="trade")
        return Trade(self.exchange, feed.symbol, timestamp, received, name, price, quantity, value, sold, fills)

    def numbered(
        self, feed: Feed, timestamp: int, received: int, number: int, price: float, size: float, sold: bool,
        fills: int = 1,
    ) -> Trade:  # fmt: skip
        """As ``trade``; the ``size`` of an inverse contract is in contracts."""
        if not feed.instrument.inverse:
            return self.trade(feed, timestamp, received, number, price, size, sold, fills)
        if not 0 <= number < 1 << 63:
            raise FrameError(f"impossible trade id {number}", kind="trade")
        return self.fill(feed, timestamp, received, str(number), price, size, sold, fills)

    def forced(
        self, feed: Feed, timestamp: int, received: int, name: str, side: Side, price: float, size: float,
        coverage: Coverage,
    ) -> Liquidation:  # fmt: skip
        """A liquidation as ``liquidation`` makes it, its ``size`` in the exchange's unit (``sized``)."""
        quantity, value = sized(feed, price, size, "liquidation")
        return Liquidation(
            self.exchange, feed.symbol, timestamp, received, name, side, price, quantity, value, coverage
        )  # fmt: skip

    def liquidation(
        self, feed: Feed, timestamp: int, received: int, name: str, side: Side, price: float, quantity: float,
        coverage: Coverage,
    ) -> Liquidation:  # fmt: skip
        """A liquidation; ``side`` is the closed position's."""
        value = price * quantity
        if not (price > 0.0 and quantity > 0.0 and 0.0 < value < inf):
            raise FrameError(f"price {price!r}, quantity {quantity!r} not finite and positive", kind="liquidation")
        return Liquidation(
            self.exchange, feed.symbol, timestamp, received, name, side, price, quantity, value, coverage
        )  # fmt: skip

    def book(
        self, feed: Feed, timestamp: int, received: int, sequence: int, bids: list[Level], asks: list[Level]
    ) -> Sequence[Book]:
        """The top of a whole book, once per slot; the first of a slot wins. Without any time every one counts."""
        slot = time.floor(timestamp, self.options.book_every)
        if slot <= feed.slot and slot > 0:
            return ()
        depth = self.options.book_depth
        bids, asks = bids[:depth], asks[:depth]
        if not all(0.0 < number < inf for level in (*bids, *asks) for number in level):
            raise FrameError("a level that is not finite and positive", kind="book")
        if not 0 <= sequence < 1 << 63:
            raise FrameError(f"impossible sequence {sequence}", kind="book")
        feed.slot = slot
        return (Book(self.exchange, feed.symbol, slot, received, sequence, bids, asks),)

    @staticmethod
    def replay(feed: Feed, trades: Iterable[tuple[int, Trade]], received: int) -> list[Trade]:
        """What is to be told of the numbered trades a subscription replays.

        After a reconnect what was missed is; at a start only the last minutes are, as a restart may have missed them.
        """
        fresh, told = feed.expected < 0, []
        for number, trade in sorted(trades, key=itemgetter(0)):
            if fresh:
                news = not received or trade.timestamp >= received - REPLAY_MAX
            else:
                news = number >= feed.expected or any(first <= number <= last for first, last, *_ in feed.holes)
            if news or fresh:
                feed.step(number, trade.timestamp, received)
            if news:
                told.append(trade)
        return told

    def kline(
        self, feed: Feed, timestamp: int, received: int, interval: str, prices: tuple[float, float, float, float],
        volume: float, value: float | None, trades: int | None, source: Source = "ws",
    ) -> Kline:  # fmt: skip
        """A closed candle; ``prices`` are open, high, low, close.

        ``value`` None: the venue gives none, and the volume at the candle's typical price stands for it.
        """
        value = volume * sum(prices[1:]) / 3.0 if value is None else value
        if not all(0.0 < price < inf for price in prices) or not (0.0 <= volume < inf and 0.0 <= value < inf):
            raise FrameError("a candle whose numbers are not finite and positive", kind="kline")
        if trades is not None and not 0 <= trades < 1 << 63:
            raise FrameError(f"impossible number of trades {trades}", kind="kline")
        return Kline(
            self.exchange, feed.symbol, timestamp, received, interval, *prices, volume, value, trades, source
        )  # fmt: skip

    def funding(
        self, feed: Feed, timestamp: int, received: int, rate: float, next_funding: int | None,
        mark: float | None, index: float | None, hours: float | None = None,
    ) -> Sequence[Funding]:  # fmt: skip
        """The rate once per poll slot, with the slot's time, and at each change of ``next_funding`` with its own.

        ``hours`` is the interval where the venue has one for all. Without any time every frame counts.
        """
        if not (isfinite(rate) and all(price is None or 0.0 < price < inf for price in (mark, index))):
            raise FrameError("a funding rate or price that is not finite", kind="funding")
        slot = time.floor(timestamp, self.options.funding_every)
        times = [slot] if slot > feed.slot or slot == 0 else []
        if feed.content is not None and feed.content != next_funding and timestamp not in times:
            times.append(timestamp)
        feed.slot, feed.content = max(slot, feed.slot), next_funding
        hours = hours or self.feeds.directory.hours.get(feed.native)
        return [Funding(self.exchange, feed.symbol, t, received, rate, hours, next_funding, mark, index) for t in times]


def sized(feed: Feed, price: float, size: float, kind: str = "frame") -> tuple[float, float]:
    """Quantity (base units) and value (quote units) of ``size`` contracts, by the instrument's contract size.

    A linear contract is worth base units, an inverse one quote units. Raises FrameError where not finite and positive.
    """
    contract = feed.instrument.contract_size
    if not (price > 0.0 and size > 0.0):
        raise FrameError(f"price {price!r} and size {size!r} are not finite and positive", kind=kind)
    if feed.instrument.inverse:
        value = size * contract
        quantity = value / price
    else:
        # Rounded: 3 contracts of 0.1 are 0.3, not 0.30000000000000004.
        quantity = round(size * contract, 12) if contract != 1.0 else size
        value = price * quantity
    if not (0.0 < quantity < inf and 0.0 < value < inf and price < inf):
        raise FrameError(f"price {price!r} and size {size!r} are not finite and positive", kind=kind)
    return quantity, value


def open_interest(
    setup: Setup, feed: Feed, timestamp: int, received: int, contracts: float, value: float | None = None
) -> Sequence[OpenInterest]:
    """Open interest (base units, one side) once per poll slot. Without any time every frame counts."""
    if not (0.0 <= contracts < inf and 0.0 <= (value or 0.0) < inf):
        raise FrameError(f"open interest {contracts!r} or value {value!r} is not finite", kind="open_interest")
    slot = time.floor(timestamp, setup.options.open_interest_every)
    if slot <= feed.slot and slot > 0:
        return ()
    feed.slot = slot
    return (OpenInterest(setup.exchange, feed.symbol, slot, received, contracts, value),)
