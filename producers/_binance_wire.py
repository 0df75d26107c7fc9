"""Binance's messages: the fields used, and what its instrument lists and symbol spellings mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from schemas import symbols
from schemas.events import Level
from schemas.instruments import Instrument

T = TypeVar("T")


class Framed(msgspec.Struct, Generic[T], gc=False):
    """The envelope of a combined stream."""

    data: T


class Print(msgspec.Struct, gc=False):
    """``@trade``: one fill. ``X`` is the futures' order type."""

    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool
    X: str = "MARKET"


class Aggregate(msgspec.Struct, gc=False):
    """``@aggTrade``: one taker order at one price, fills ``first`` to ``last``."""

    s: str
    a: int
    p: float
    q: float
    T: int
    m: bool
    first: int = msgspec.field(name="f")
    last: int = msgspec.field(name="l")


class Fill(msgspec.Struct, gc=False):
    """A row of ``historicalTrades``."""

    id: int
    price: float
    qty: float
    time: int
    isBuyerMaker: bool


class AggregateRow(msgspec.Struct, gc=False):
    """A row of ``aggTrades``, which leaves out the symbol."""

    a: int
    p: float
    q: float
    T: int
    m: bool
    first: int = msgspec.field(name="f")
    last: int = msgspec.field(name="l")


class Order(msgspec.Struct, gc=False):
    """A forced order: ``ap`` average price, ``z`` filled quantity, ``S`` the order's side."""

    s: str
    S: str
    ap: float
    z: float
    T: int


class Forced(msgspec.Struct, gc=False):
    """``@forceOrder``."""

    E: int
    o: Order


class Depth(msgspec.Struct, gc=False):
    """``@depth<n>``: spot fills the long names, futures the short ones."""

    lastUpdateId: int = -1
    bids: list[Level] = []
    asks: list[Level] = []
    s: str = ""
    E: int = 0
    T: int = 0
    u: int = -1
    b: list[Level] = []
    a: list[Level] = []


class Candle(msgspec.Struct, gc=False, kw_only=True):
    """The candle inside ``@kline_<interval>``; ``x``: closed."""

    s: str
    t: int
    i: str
    o: float
    h: float
    low: float = msgspec.field(name="l")
    c: float
    v: float
    q: float
    n: int
    x: bool


class Candles(msgspec.Struct, gc=False):
    """``@kline_<interval>``."""

    E: int
    k: Candle


class Mark(msgspec.Struct, gc=False):
    """``@markPrice``: ``r`` is the predicted rate of the period that ends at ``T``, empty on delivery contracts."""

    E: int
    s: str
    p: float
    T: int
    r: str = ""
    i: float | None = None


class Problem(msgspec.Struct):
    """An error, alone as a REST body or inside an answer."""

    code: int
    msg: str = ""


class Head(msgspec.Struct):
    """What tells a frame without envelope apart."""

    e: str = ""
    stream: str = ""
    id: int | str | None = None
    error: Problem | None = None
    code: int | None = None
    msg: str = ""


_BODIES: dict[str, Any] = {
    "trade": Print, "aggTrade": Aggregate, "forceOrder": Forced, "kline": Candles, "depth": Depth,
    "markPrice": Mark, "markPrices": list[Mark],
}  # fmt: skip
KINDS = {
    "trade": "trade", "aggTrade": "trade", "forceOrder": "liquidation", "kline": "kline", "depth": "book",
    "markPrice": "funding", "markPrices": "funding",
}  # fmt: skip
_framed: Any = Framed  # subscripted at run time, which a type checker cannot follow
FRAMED = {word: msgspec.json.Decoder(_framed[body], strict=False).decode for word, body in _BODIES.items()}
BARE = {word: msgspec.json.Decoder(body, strict=False).decode for word, body in _BODIES.items()}
decode_fills = msgspec.json.Decoder(list[Fill], strict=False).decode
decode_aggregates = msgspec.json.Decoder(list[AggregateRow], strict=False).decode
decode_head = msgspec.json.Decoder(Head, strict=False).decode


# --- instruments -----------------------------------------------------------------------------------------------
class _Filter(msgspec.Struct):
    filterType: str
    tickSize: float = 0.0
    stepSize: float = 0.0


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    quoteAsset: str
    status: str = "TRADING"
    contractType: str = ""
    marginAsset: str = ""
    contractSize: float = 0.0
    """Dollars of a contract, of those settled in their coin."""
    contractStatus: str = ""
    filters: list[_Filter] = []


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


class _Volume(msgspec.Struct):
    symbol: str
    quoteVolume: float


_exchange_info = msgspec.json.Decoder(_ExchangeInfo, strict=False).decode
_volumes = msgspec.json.Decoder(list[_Volume], strict=False).decode
_QUOTES = (
    "USDT", "FDUSD", "USDC", "TUSD", "BUSD", "USDP", "USDS", "USD1", "PAX", "UST", "DAI", "AEUR", "EURI", "BTC", "ETH",
    "BNB", "TRX", "XRP", "DOGE", "DOT", "SOL", "EUR", "GBP", "AUD", "BRL", "TRY", "RUB", "UAH", "NGN", "ZAR", "IDRT",
    "BIDR", "BKRW", "BVND", "VAI", "ARS", "MXN", "CZK", "PLN", "RON", "JPY", "COP",
)  # fmt: skip
_FUTURES_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "USD1", "BTC")


_COIN = re.compile(r"([A-Z0-9]{1,20})USD_(?:PERP|\d{6})")


def is_coin(native: str) -> bool:
    """Whether a contract is settled in its own coin (COIN-M)."""
    return _COIN.fullmatch(native) is not None


def contract_dollars(base: str) -> float:
    """Dollars of a contract settled in its coin, by what the exchange has always had."""
    return 100.0 if base == "BTC" else 10.0


def instruments(body: bytes) -> list[Instrument]:
    """Instruments of ``exchangeInfo``, spot or futures; those whose names leave the charset are left out."""
    found = []
    for it in _exchange_info(body).symbols:
        tick = next((f.tickSize for f in it.filters if f.filterType == "PRICE_FILTER"), 0.0)
        step = next((f.stepSize for f in it.filters if f.filterType == "LOT_SIZE"), 0.0)
        try:
            plain = _derivative(it.symbol, it.baseAsset, it.quoteAsset, it.marginAsset) if it.marginAsset else (
                _spot(it.symbol, it.baseAsset, it.quoteAsset)
            )  # fmt: skip
        except symbols.SymbolError:
            continue
        status = (it.contractStatus or it.status).lower()
        size = it.contractSize or plain.contract_size
        found.append(
            msgspec.structs.replace(
                plain, tick_size=tick or None, quantity_step=None if plain.inverse else step or None, status=status,
                contract_size=size,
            )
        )  # fmt: skip
    return found


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume by exchange symbol."""
    return {it.symbol: it.quoteVolume for it in _volumes(body)}


def named_spot(native: str) -> Instrument | None:
    """``BTCUSDT`` by the quote list."""
    pair = symbols.split_by_quote(native, _QUOTES)
    return _spot(native, *pair) if pair else None


def named_future(native: str) -> Instrument | None:
    """``BTCUSDT``, ``BTCUSDT_261225`` by the quote list; ``BTCUSD_PERP``, ``BTCUSD_261225`` settled in the coin."""
    if coin := _COIN.fullmatch(native):
        return _derivative(native, coin[1], "USD", coin[1])
    match = re.fullmatch(r"([^_]+)(?:_\d{6})?", native)
    pair = symbols.split_by_quote(match[1], _FUTURES_QUOTES) if match else None
    return _derivative(native, *pair, pair[1]) if pair else None


def spelled_spot(symbol: str) -> str | None:
    """``BTC-USDT`` is ``BTCUSDT``."""
    parts = symbol.split("-")
    return "".join(parts) if len(parts) == 2 and parts[1] in _QUOTES else None


def spelled_future(symbol: str) -> str | None:
    """``BTC-USDT-PERP`` is ``BTCUSDT``, ``BTC-USDT-20261225`` is ``BTCUSDT_261225``; of coins ``BTCUSD_PERP``."""
    if inverse := re.fullmatch(r"([A-Z0-9]+)-USD-\1-(PERP|20\d{6})", symbol):
        return f"{inverse[1]}USD_{inverse[2] if inverse[2] == 'PERP' else inverse[2][2:]}"
    match = re.fullmatch(r"([A-Z0-9]+)-([A-Z0-9]+)-(PERP|20\d{6})", symbol)
    if match is None or match[2] not in _FUTURES_QUOTES:
        return None
    return match[1] + match[2] + ("" if match[3] == "PERP" else f"_{match[3][2:]}")


def _spot(native: str, base: str, quote: str) -> Instrument:
    return Instrument("", symbols.spot(base, quote), native, symbols.coin(base), symbols.coin(quote),
                      symbols.coin(quote), "spot")  # fmt: skip


def _derivative(native: str, base: str, quote: str, settle: str) -> Instrument:
    expiry = native.partition("_")[2].removeprefix("PERP")
    symbol = symbols.derivative(base, quote, settle, f"20{expiry}" if expiry else None)
    plain = Instrument("", symbol, native, symbols.coin(base), symbols.coin(quote), symbols.coin(settle),
                       "future" if expiry else "perpetual")  # fmt: skip
    if settle != base:
        return plain
    return msgspec.structs.replace(plain, inverse=True, contract_size=contract_dollars(base))


class _OpenInterest(msgspec.Struct):
    symbol: str
    openInterest: float
    time: int


class _FundingInfo(msgspec.Struct):
    symbol: str
    fundingIntervalHours: float


class _Premium(msgspec.Struct):
    symbol: str
    markPrice: float


decode_premiums = msgspec.json.Decoder(list[_Premium], strict=False).decode
decode_open_interest = msgspec.json.Decoder(_OpenInterest, strict=False).decode
decode_funding_info = msgspec.json.Decoder(list[_FundingInfo], strict=False).decode
_problem = msgspec.json.Decoder(Problem).decode


def problem(body: bytes) -> str | None:
    """What an error body says, whatever status it came with; None for an answer."""
    if not body.startswith(b'{"code"'):
        return None
    try:
        found = _problem(body)
    except msgspec.MsgspecError:
        return "unreadable error body"
    return None if found.code == 200 else f"{found.code} {found.msg}"
