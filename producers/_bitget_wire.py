"""Bitget's messages: the fields used, and what its instrument lists and names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from schemas import symbols
from schemas.instruments import Instrument

T = TypeVar("T")
OK = "00000"


class Arg(msgspec.Struct, gc=False):
    """What a message belongs to: ``channel`` and ``instId`` in v2, ``topic`` and ``symbol`` in v3."""

    instType: str = ""
    channel: str = ""
    instId: str = ""
    topic: str = ""
    symbol: str = ""


class Print(msgspec.Struct, gc=False):
    """``trade``: a fill, the newest of a message first; ``side`` is the taker's, ``size`` in coins."""

    ts: int
    price: float
    size: float
    side: str
    tradeId: int


class PublicTrade(msgspec.Struct, gc=False):
    """v3 ``publicTrade``; ``v`` is in coins, of coin-margined futures in dollars."""

    T: int
    p: float
    v: float
    S: str
    i: int


class Liquidation(msgspec.Struct, gc=False):
    """v3 ``liquidation``: ``side`` is the position's, ``amount`` in quote units."""

    symbol: str
    side: str
    price: float
    amount: float
    ts: int


class Book(msgspec.Struct, gc=False):
    """``books15`` and its likes: the whole top."""

    asks: list[tuple[float, float]]
    bids: list[tuple[float, float]]
    ts: int
    seq: int = 0


class Ticker(msgspec.Struct, gc=False):
    """``ticker``: futures only have more than prices. Times and rates of delivery futures are 0 or empty."""

    instId: str
    ts: int
    fundingRate: str = ""
    nextFundingTime: str = ""
    markPrice: str = ""
    indexPrice: str = ""
    holdingAmount: str = ""


class Frame(msgspec.Struct, Generic[T], gc=False):
    """A push."""

    arg: Arg
    data: list[T]
    action: str = ""


class Head(msgspec.Struct):
    """An answer."""

    event: str = ""
    arg: Arg | None = None
    code: int | str | None = None
    msg: str = ""


_frame: Any = Frame  # subscripted at run time, which a type checker cannot follow
_BODIES: dict[str, Any] = {
    "trade": Print, "publicTrade": PublicTrade, "liquidation": Liquidation, "book": Book, "ticker": Ticker,
    "candle": list[float],
}  # fmt: skip
DECODE = {word: msgspec.json.Decoder(_frame[body], strict=False).decode for word, body in _BODIES.items()}
KINDS = {"trade": "trade", "publicTrade": "trade", "liquidation": "liquidation", "book": "book", "ticker": "funding",
         "candle": "kline"}  # fmt: skip
decode_head = msgspec.json.Decoder(Head).decode


# --- instruments -----------------------------------------------------------------------------------------------
class _Pair(msgspec.Struct):
    symbol: str
    baseCoin: str
    quoteCoin: str
    status: str
    pricePrecision: int
    quantityPrecision: int


class _Contract(msgspec.Struct):
    symbol: str
    symbolStatus: str
    pricePlace: int
    priceEndStep: float
    sizeMultiplier: float
    deliveryTime: str = ""
    fundInterval: str = ""


class _Volume(msgspec.Struct):
    symbol: str
    quoteVolume: float = 0.0
    usdtVolume: float = 0.0


class _List(msgspec.Struct, Generic[T]):
    data: list[T]


_list: Any = _List
_pairs = msgspec.json.Decoder(_list[_Pair], strict=False).decode
_contracts = msgspec.json.Decoder(_list[_Contract], strict=False).decode
_volumes = msgspec.json.Decoder(_list[_Volume], strict=False).decode
_QUOTES = ("USDT", "USDC", "USDE", "USD1", "BGB", "BTC", "ETH", "EUR", "BRL", "TRY", "GBP")
_FUTURE = re.compile(r"([^_]+?)(USDT|USDC|USD|PERP)(?:_?(\d{6})|([HMUZ])(\d{2}))?")
_SYMBOL = re.compile(r"([A-Z0-9]+)-(USDT|USDC|USD)(?:-([A-Z0-9]+))?-(PERP|20\d{6})")
_MONTHS = {"H": 3, "M": 6, "U": 9, "Z": 12}
_LETTERS = {month: letter for letter, month in _MONTHS.items()}


def instruments(body: bytes) -> Sequence[Instrument]:
    """Pairs of ``public/symbols``."""
    found = []
    for it in _pairs(body).data:
        try:
            plain = _spot(it.symbol, it.baseCoin, it.quoteCoin)
        except symbols.SymbolError:
            continue
        found.append(
            msgspec.structs.replace(
                plain, tick_size=float(f"1e-{it.pricePrecision}"), quantity_step=float(f"1e-{it.quantityPrecision}"),
                status="trading" if it.status == "online" else it.status,
            )
        )  # fmt: skip
    return found


def futures(body: bytes) -> Sequence[Instrument]:
    """Contracts of ``market/contracts``, of any product type."""
    found = []
    for it in _contracts(body).data:
        try:
            plain = named_future(it.symbol, it.deliveryTime)
        except symbols.SymbolError:
            continue
        if plain is not None:
            tick = float(f"{it.priceEndStep:.10g}e-{it.pricePlace}")
            status = "trading" if it.symbolStatus == "normal" else it.symbolStatus
            found.append(
                msgspec.structs.replace(plain, tick_size=tick, quantity_step=it.sizeMultiplier, status=status)
            )  # fmt: skip
    return found


def hours(body: bytes) -> Mapping[str, float]:
    """Funding interval by contract, where it has one."""
    return {it.symbol: float(it.fundInterval) for it in _contracts(body).data if it.fundInterval.isdecimal()}


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume by instrument."""
    return {it.symbol: it.usdtVolume or it.quoteVolume for it in _volumes(body).data}


def named_spot(native: str) -> Instrument | None:
    """``BTCUSDT`` by the quote list."""
    pair = symbols.split_by_quote(native, _QUOTES)
    return _spot(native, *pair) if pair else None


def spelled_spot(symbol: str) -> str | None:
    """``BTC-USDT`` is ``BTCUSDT``."""
    base, _, quote = symbol.partition("-")
    return base + quote if quote in _QUOTES and base else None


def named_future(native: str, delivery: str = "") -> Instrument | None:
    """``BTCUSDT``, ``BTCPERP`` (USDC), ``BTCUSD`` (inverse), and dated ones such as ``BTCUSDZ24``."""
    match = _FUTURE.fullmatch(native)
    if match is None:
        return None
    base, quote = symbols.coin(match[1]), "USDC" if match[2] == "PERP" else match[2]
    inverse = quote == "USD"
    expiry = _expiry(match, delivery)
    settle = base if inverse else quote
    symbol = symbols.derivative(base, quote, settle, expiry)
    return Instrument("", symbol, native, base, quote, settle, "future" if expiry else "perpetual", inverse)


def spelled_future(symbol: str) -> str | None:
    """``BTC-USDT-PERP`` is ``BTCUSDT``, ``BTC-USDC-PERP`` is ``BTCPERP``, ``BTC-USD-BTC-20241227`` is ``BTCUSDZ24``."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None or (match[3] or "") != (match[1] if match[2] == "USD" else ""):
        return None
    base, quote, ends = match[1], match[2], match[4]
    if ends == "PERP":
        return f"{base}PERP" if quote == "USDC" else base + quote
    letter = _LETTERS.get(int(ends[4:6]))
    return f"{base}{quote}{letter}{ends[2:4]}" if letter else None


def market(native: str) -> str:
    """The product type of a contract."""
    match = _FUTURE.fullmatch(native)
    quote = match[2] if match else ""
    return "USDC-FUTURES" if quote in ("PERP", "USDC") else "COIN-FUTURES" if quote == "USD" else "USDT-FUTURES"


def _spot(native: str, base: str, quote: str) -> Instrument:
    base, quote = symbols.coin(base), symbols.coin(quote)
    return Instrument("", symbols.spot(base, quote), native, base, quote, quote, "spot")


def _expiry(match: re.Match[str], delivery: str) -> str | None:
    """YYYYMMDD: as listed, as named, or the last Friday of the month the letter stands for."""
    if not (match[3] or match[4]):
        return None
    if delivery.isdecimal() and 10**12 < int(delivery) < 4 * 10**12:
        return f"{datetime.fromtimestamp(int(delivery) / 1000, UTC):%Y%m%d}"
    if match[3]:
        return f"20{match[3]}"
    month, year = _MONTHS[match[4]], 2000 + int(match[5])
    last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return f"{last - timedelta(days=(last.weekday() - 4) % 7):%Y%m%d}"


class _Problem(msgspec.Struct):
    code: int | str = OK
    msg: str | None = ""


_problem = msgspec.json.Decoder(_Problem).decode


def problem(body: bytes) -> str | None:
    """What an error body says, whatever status it came with; None for an answer."""
    try:
        found = _problem(body)
    except msgspec.MsgspecError:
        return "unreadable body"
    return None if str(found.code) == OK else f"{found.code} {found.msg}"
