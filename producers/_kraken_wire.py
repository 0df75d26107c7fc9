"""Kraken spot v2's messages: the fields used, the book's checksum, and what pair names mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple
from zlib import crc32

import msgspec

from producers._exchange import FrameError
from producers._ladder import Ladder
from schemas import symbols
from schemas.events import Level
from schemas.instruments import Instrument

CHECKED = 10
"""Levels a side that a checksum covers, whatever the depth subscribed."""
_QUANTITY_DECIMALS = 8
_NUMBER = re.compile(rb"\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?")


class Fill(msgspec.Struct, gc=False):
    """One trade; ``side`` is the taker's."""

    symbol: str
    side: str
    price: float
    qty: float
    trade_id: int
    timestamp: str


class PastFill(msgspec.Struct, gc=False, array_like=True):
    """A row of REST ``Trades``: ``time`` in seconds, in decimals because a double does not hold its digits."""

    price: float
    volume: float
    time: Decimal
    side: str
    kind: str
    other: str
    trade_id: int


class _Past(msgspec.Struct):
    result: dict[str, msgspec.Raw] = {}


class Step(msgspec.Struct):
    """A level as it is written: the checksum is over its digits."""

    price: msgspec.Raw
    qty: msgspec.Raw


class Depth(msgspec.Struct):
    """A book's snapshot or changes; size 0 takes a level away."""

    symbol: str
    checksum: int
    bids: list[Step] = []
    asks: list[Step] = []
    timestamp: str = ""


class Ohlc(msgspec.Struct, gc=False):
    """A candle as it stands; ``timestamp`` would be its END."""

    symbol: str
    interval: int
    interval_begin: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    trades: int


class Trades(msgspec.Struct):
    """``trade``."""

    type: str = ""
    data: list[Fill] = []


class Books(msgspec.Struct):
    """``book``."""

    type: str = ""
    data: list[Depth] = []


class Candles(msgspec.Struct):
    """``ohlc``."""

    type: str = ""
    data: list[Ohlc] = []


class Head(msgspec.Struct):
    """What tells other messages apart; answers to requests carry ``method``."""

    channel: str = ""
    method: str = ""
    success: bool = True
    error: str = ""
    symbol: str = ""
    req_id: int = -1


decode_trades = msgspec.json.Decoder(Trades, strict=False).decode
decode_books = msgspec.json.Decoder(Books, strict=False).decode
decode_candles = msgspec.json.Decoder(Candles, strict=False).decode
_past = msgspec.json.Decoder(_Past).decode
_past_fills = msgspec.json.Decoder(list[PastFill], strict=False).decode
decode_head = msgspec.json.Decoder(Head).decode


class Checked:
    """A book and the digits it was written with, which its checksum is made of."""

    def __init__(self, depth: int, instrument: Instrument) -> None:
        self.ladder, self._depth = Ladder(depth=depth), depth
        sizes = _decimals(instrument.quantity_step)
        self._prices, self._sizes = _decimals(instrument.tick_size), _QUANTITY_DECIMALS if sizes is None else sizes
        self._bids: dict[float, _Written] = {}
        self._asks: dict[float, _Written] = {}

    def apply(self, it: Depth, *, snapshot: bool) -> bool:
        """Take in a message; whether the book's checksum holds. Raises FrameError for what is no level."""
        if snapshot:
            self._bids.clear()
            self._asks.clear()
        bids, asks = self._noted(self._bids, it.bids), self._noted(self._asks, it.asks)
        (self.ladder.begin if snapshot else self.ladder.change)(bids, asks, 0)
        best_bids, best_asks = self.ladder.top(CHECKED)
        written = [self._asks[price] for price, _ in best_asks] + [self._bids[price] for price, _ in best_bids]
        holds = crc32(b"".join([level.digits for level in written])) == it.checksum or self._otherwise(written, it)
        for known in (self._bids, self._asks):
            if len(known) > 8 * self._depth:
                kept = {price for side in self.ladder.top(self._depth) for price, _ in side}
                for price in known.keys() - kept:
                    del known[price]
        return holds

    def _noted(self, known: dict[float, _Written], steps: Iterable[Step]) -> list[Level]:
        levels = []
        for step in steps:
            price, size = bytes(step.price), bytes(step.qty)
            if _NUMBER.fullmatch(price) is None or _NUMBER.fullmatch(size) is None:
                raise FrameError("a level that is not a number", kind="book")
            levels.append((float(price), float(size)))
            # The wire carries full precision; a copy that has lost its trailing zeros gets them back.
            digits = _digits(price, self._prices or 0) + _digits(size, self._sizes)
            known[levels[-1][0]] = _Written(digits, price, size)
        return levels

    def _otherwise(self, written: list[_Written], it: Depth) -> bool:
        """The digits just as they came; and, where the pair is not known, prices as precise as the most precise one."""
        if crc32(b"".join([_digits(text, 0) for level in written for text in level[1:]])) == it.checksum:
            return True
        decimals = max((len(level.price.partition(b".")[2]) for level in written), default=0)
        padded = [_digits(level.price, decimals) + _digits(level.size, self._sizes) for level in written]
        return self._prices is None and crc32(b"".join(padded)) == it.checksum


class _Written(NamedTuple):
    digits: bytes
    price: bytes
    size: bytes


def _digits(text: bytes, decimals: int) -> bytes:
    """``0.00100`` is ``100``; with at least ``decimals`` decimals."""
    if b"e" in text or b"E" in text:
        text = f"{Decimal(text.decode()):f}".encode()
    whole, _, rest = text.partition(b".")
    return (whole + rest.ljust(decimals, b"0")).lstrip(b"0")


def _decimals(size: float | None) -> int | None:
    """How many decimals a tick or step has."""
    if not size:
        return None
    exponent = Decimal(repr(size)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else None


# --- instruments -----------------------------------------------------------------------------------------------
class _Pair(msgspec.Struct):
    wsname: str = ""
    status: str = "online"
    pair_decimals: int = 0
    lot_decimals: int = _QUANTITY_DECIMALS
    tick_size: float | None = None


class _Pairs(msgspec.Struct):
    result: dict[str, _Pair]


class _Turnover(msgspec.Struct):
    v: tuple[float, float]
    p: tuple[float, float]


class _Turnovers(msgspec.Struct):
    result: dict[str, _Turnover]


class _Problem(msgspec.Struct):
    error: list[str]


_pairs = msgspec.json.Decoder(_Pairs, strict=False).decode
_turnovers = msgspec.json.Decoder(_Turnovers, strict=False).decode
_problem = msgspec.json.Decoder(_Problem).decode
_COMMON = {"XBT": "BTC", "XDG": "DOGE"}
_TRADING = ("online", "limit_only", "post_only", "reduce_only")
_QUOTES = ("USD", "EUR", "GBP", "CAD", "AUD", "CHF", "JPY", "AED", "USDT", "USDC", "DAI", "PYUSD", "EURR", "XBT", "ETH",
           "DOT", "SOL")  # fmt: skip
_LEGACY = re.compile(r"[XZ]([A-Z]{3})[XZ]([A-Z]{3})")


def instruments(body: bytes) -> list[Instrument]:
    """Instruments of ``AssetPairs``. Its ``wsname`` still says XBT and XDG, which the socket refuses."""
    found = []
    for it in _pairs(body).result.values():
        base, _, quote = it.wsname.partition("/")
        plain = _spot(f"{_COMMON.get(base, base)}/{_COMMON.get(quote, quote)}") if base and quote else None
        if plain is not None:
            found.append(
                msgspec.structs.replace(
                    plain, tick_size=it.tick_size or float(Decimal(1).scaleb(-it.pair_decimals)),
                    quantity_step=float(Decimal(1).scaleb(-it.lot_decimals)),
                    status="trading" if it.status in _TRADING else it.status,
                )
            )  # fmt: skip
    return found


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume by our spelling, from ``Ticker``, which spells pairs the old way (``XXBTZUSD``)."""
    found = {}
    for name, it in _turnovers(body).result.items():
        legacy = _LEGACY.fullmatch(name)
        pair = (legacy[1], legacy[2]) if legacy else symbols.split_by_quote(name, _QUOTES)
        if pair is not None:
            found["/".join(_COMMON.get(coin, coin) for coin in pair)] = it.v[1] * it.p[1]
    return found


def named(native: str) -> Instrument | None:
    """``BTC/USD`` says it all."""
    return _spot(native) if native.count("/") == 1 else None


def spelled(symbol: str) -> str | None:
    """``BTC-USD`` is ``BTC/USD``."""
    return symbol.replace("-", "/") if symbol.count("-") == 1 else None


def past(body: bytes) -> list[PastFill]:
    """Rows of ``Trades``, oldest first, under whatever name the pair has there."""
    return [fill for name, rows in _past(body).result.items() if name != "last" for fill in _past_fills(rows)]


def series(body: bytes) -> list[msgspec.Raw]:
    """Rows of ``OHLC``, under whatever name the pair has there."""
    return [rows for name, rows in _past(body).result.items() if name != "last"]


def problem(body: bytes) -> str | None:
    """What an error body says: Kraken sends it with status 200."""
    if not body[:40].lstrip().startswith(b'{"error"') and b'"error"' not in body[:40]:
        return None
    try:
        return "; ".join(_problem(body).error)[:300] or None
    except msgspec.MsgspecError:
        return "unreadable error body"


def _spot(native: str) -> Instrument | None:
    base, _, quote = native.partition("/")
    try:
        return Instrument("", symbols.spot(base, quote), native, symbols.coin(base), symbols.coin(quote),
                          symbols.coin(quote), "spot")  # fmt: skip
    except symbols.SymbolError:
        return None
