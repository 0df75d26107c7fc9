"""Bybit's messages: the fields used, and what its instrument lists and names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from producers._exchange import Request
from schemas import symbols
from schemas.instruments import Instrument

T = TypeVar("T")
Levels = list[tuple[float, float]]


class Pushed(msgspec.Struct, Generic[T]):
    """A message with data. ``cts``: when the matching engine made it."""

    topic: str
    data: T
    ts: int
    type: str = ""
    cts: int = 0


class Print(msgspec.Struct, gc=False):
    """``publicTrade``: ``S`` the taker's side; ``BT`` a block trade, agreed on elsewhere."""

    i: str
    s: str
    T: int
    p: float
    v: float
    S: str
    BT: bool = False


class Depth(msgspec.Struct, gc=False):
    """``orderbook``: ``u`` goes up by one from change to change; 1 means that the exchange started anew."""

    s: str
    b: Levels
    a: Levels
    u: int


class Candle(msgspec.Struct, gc=False):
    """``kline``; ``turnover`` is quote units, of an inverse contract base units (``volume`` is dollars then)."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    confirm: bool


class Liquidated(msgspec.Struct, gc=False):
    """``allLiquidation``: ``S`` the side of the POSITION (``Buy``: a long was closed), ``p`` the bankruptcy price."""

    T: int
    s: str
    S: str
    v: float
    p: float


class Ticker(msgspec.Struct, gc=False):
    """``tickers`` of a contract: everything at first, then what has changed. Empty texts mean nothing is known.

    ``openInterest`` counts both sides, ``singleOpenInterest`` one; values are quote units, inverse: base units.
    """

    symbol: str
    markPrice: str | None = None
    indexPrice: str | None = None
    fundingRate: str | None = None
    nextFundingTime: str | None = None
    fundingIntervalHour: str | None = None
    openInterest: str | None = None
    openInterestValue: str | None = None
    singleOpenInterest: str | None = None
    singleOpenInterestValue: str | None = None


class Head(msgspec.Struct):
    """What is no data; a refusal does not always name its request."""

    topic: str = ""
    op: str = ""
    success: bool = True
    ret_msg: str = ""
    req_id: str = ""
    data: msgspec.Raw = msgspec.Raw()


_pushed: Any = Pushed  # subscripted at run time, which a type checker cannot follow
_BODIES: dict[str, Any] = {
    "publicTrade": list[Print], "orderbook": Depth, "kline": list[Candle], "allLiquidation": list[Liquidated],
    "tickers": Ticker,
}  # fmt: skip
KINDS = {
    "publicTrade": "trade", "orderbook": "book", "kline": "kline", "allLiquidation": "liquidation",
    "tickers": "funding",
}  # fmt: skip
DECODE = {word: msgspec.json.Decoder(_pushed[body], strict=False).decode for word, body in _BODIES.items()}
decode_head = msgspec.json.Decoder(Head, strict=False).decode


# --- instruments -----------------------------------------------------------------------------------------------
class _Steps(msgspec.Struct, frozen=True):
    qtyStep: str = ""
    basePrecision: str = ""


class _Ticks(msgspec.Struct, frozen=True):
    tickSize: str = ""


class _Listed(msgspec.Struct):
    symbol: str
    status: str
    baseCoin: str
    quoteCoin: str
    contractType: str = ""
    settleCoin: str = ""
    deliveryTime: str = "0"
    optionsType: str = ""
    lotSizeFilter: _Steps = _Steps()
    priceFilter: _Ticks = _Ticks()


class _Page(msgspec.Struct, Generic[T]):
    rows: list[T] = msgspec.field(name="list")
    nextPageCursor: str | None = None


class _Body(msgspec.Struct, Generic[T]):
    result: _Page[T]


class _Turnover(msgspec.Struct):
    symbol: str
    turnover24h: float = 0.0


class _Problem(msgspec.Struct):
    retCode: int
    retMsg: str = ""


_body: Any = _Body
_listed = msgspec.json.Decoder(_body[_Listed], strict=False).decode
_turnovers = msgspec.json.Decoder(_body[_Turnover], strict=False).decode
_problem = msgspec.json.Decoder(_Problem, strict=False).decode
PAGE = 1_000
_SPOT_QUOTES = (
    "USDT", "USDC", "USDE", "USD1", "USDQ", "USDR", "EUR", "BTC", "ETH", "SOL", "DAI", "BRL", "BRZ", "TRY", "PLN",
    "MNT", "GBP", "AED",
)  # fmt: skip
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_QUARTERS = {"H": 3, "M": 6, "U": 9, "Z": 12}
_INVERSE = re.compile(r"([A-Z0-9]+)USD(?:([HMUZ])(\d\d))?")
_LINEAR = re.compile(r"([A-Z0-9]+)USDT(?:-(\d{1,2})([A-Z]{3})(\d\d))?")
_USDC = re.compile(r"([A-Z0-9]+)(?:PERP|-(\d{1,2})([A-Z]{3})(\d\d))")
_TAIL = re.compile(r"([A-Z]+)(10+)")


def instruments(body: bytes) -> list[Instrument]:
    """Instruments of one page of ``/v5/market/instruments-info`` that a symbol can name; no options."""
    found = []
    for it in _listed(body).result.rows:
        try:
            if not it.optionsType:
                found.append(_contract(it) if it.contractType else _spot(it))
        except (symbols.SymbolError, ValueError):
            continue
    return found


def following(request: Request, body: bytes) -> Request | None:
    """The request for the next page; a cursor may stand on the last one too."""
    page = _listed(body).result
    if not page.nextPageCursor or len(page.rows) < PAGE:
        return None
    return request._replace(url=f"{request.url.partition('&cursor=')[0]}&cursor={page.nextPageCursor}")


def _spot(it: _Listed) -> Instrument:
    base, quote = coin(it.baseCoin), symbols.coin(it.quoteCoin)
    return Instrument(
        "", symbols.spot(base, quote), it.symbol, base, quote, quote, "spot", tick_size=_step(it.priceFilter.tickSize),
        quantity_step=_step(it.lotSizeFilter.basePrecision), status=it.status.lower(),
    )  # fmt: skip


def _contract(it: _Listed) -> Instrument:
    base, quote, settle = coin(it.baseCoin), symbols.coin(it.quoteCoin), symbols.coin(it.settleCoin)
    inverse = it.contractType.startswith("Inverse")
    expiry = None
    if it.contractType.endswith("Futures"):
        expiry = f"{datetime.fromtimestamp(int(it.deliveryTime) // 1_000, UTC):%Y%m%d}"
    step = None if inverse else _step(it.lotSizeFilter.qtyStep)
    return Instrument(
        "", symbols.derivative(base, quote, settle, expiry), it.symbol, base, quote, settle,
        "future" if expiry else "perpetual", inverse, 1.0, _step(it.priceFilter.tickSize), step,
        status=it.status.lower(),
    )  # fmt: skip


def _step(text: str) -> float | None:
    return float(text) if text else None


def coin(text: str) -> str:
    """``SHIB1000`` is ``1000SHIB``, as every other coin that is sold by the thousand."""
    match = _TAIL.fullmatch(text)
    return symbols.coin(match[2] + match[1] if match and len(match[2]) > 3 else text)


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume by instrument."""
    return {it.symbol: it.turnover24h for it in _turnovers(body).result.rows}


def is_inverse(native: str) -> bool:
    """Whether a contract is settled in its own coin: ``BTCUSD``, ``BTCUSDZ25``."""
    return _INVERSE.fullmatch(native) is not None


def named_spot(native: str) -> Instrument | None:
    """``BTCUSDT`` by the quote list."""
    pair = symbols.split_by_quote(native, _SPOT_QUOTES)
    if pair is None:
        return None
    base, quote = coin(pair[0]), symbols.coin(pair[1])
    return Instrument("", symbols.spot(base, quote), native, base, quote, quote, "spot")


def named_contract(native: str) -> Instrument | None:
    """``BTCUSDT``, ``BTCPERP``, ``BTCUSD``; dated ``BTCUSDT-26DEC25``, ``BTC-26DEC25``, ``BTCUSDZ25``."""
    if match := _INVERSE.fullmatch(native):
        expiry = f"{_last_friday(2000 + int(match[3]), _QUARTERS[match[2]]):%Y%m%d}" if match[2] else None
        return _named(native, match[1], "USD", expiry)
    for pattern, quote in ((_LINEAR, "USDT"), (_USDC, "USDC")):
        if match := pattern.fullmatch(native):
            return _named(native, match[1], quote, _day(match[2], match[3], match[4]) if match[2] else None)
    return None


def _named(native: str, base: str, quote: str, expiry: str | None) -> Instrument | None:
    if expiry == "":
        return None
    base, inverse = coin(base), quote == "USD"
    settle = base if inverse else quote
    return Instrument("", symbols.derivative(base, quote, settle, expiry), native, base, quote, settle,
                      "future" if expiry else "perpetual", inverse)  # fmt: skip


def _day(day: str, month: str, year: str) -> str:
    """``YYYYMMDD``; empty where there is no such day."""
    try:
        return f"{date(2000 + int(year), _MONTHS.index(month) + 1, int(day)):%Y%m%d}"
    except ValueError:
        return ""


def _last_friday(year: int, month: int) -> date:
    end = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return end - timedelta(days=(end.weekday() - 4) % 7)


def spelled_spot(symbol: str) -> str | None:
    """``BTC-USDT`` is ``BTCUSDT``."""
    parts = symbol.split("-")
    return "".join(parts) if len(parts) == 2 and parts[1] in _SPOT_QUOTES else None


def spelled_contract(symbol: str) -> str | None:
    """``BTC-USDT-PERP`` is ``BTCUSDT``, ``BTC-USD-BTC-PERP`` is ``BTCUSD``; dated ones as ``named_contract``."""
    match = re.fullmatch(r"([A-Z0-9]+)-(USDT|USDC|USD)(?:-([A-Z0-9]+))?-(PERP|20\d{6})", symbol)
    if match is None or (match[3] or match[2]) != (match[1] if match[2] == "USD" else match[2]):
        return None
    base, quote, expiry = "SHIB1000" if match[1] == "1000SHIB" else match[1], match[2], match[4]
    if expiry == "PERP":
        return base + {"USDT": "USDT", "USDC": "PERP", "USD": "USD"}[quote]
    candidates = _dated(base, quote, int(expiry[:4]), int(expiry[4:6]), int(expiry[6:]))
    return next((native for native in candidates if (named := named_contract(native)) and named.symbol == symbol), None)


def _dated(base: str, quote: str, year: int, month: int, day: int) -> Sequence[str]:
    if quote == "USD":
        return [f"{base}USD{letter}{year % 100:02d}" for letter, its in _QUARTERS.items() if its == month]
    if not 0 < month < 13:
        return ()
    return (f"{base}{'USDT' if quote == 'USDT' else ''}-{day}{_MONTHS[month - 1]}{year % 100:02d}",)


def problem(body: bytes) -> str | None:
    """What an error body says, whatever status it came with; None for an answer."""
    try:
        found = _problem(body)
    except msgspec.MsgspecError:
        return "unreadable body"
    return None if found.retCode == 0 else f"{found.retCode} {found.retMsg}"
