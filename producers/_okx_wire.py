"""OKX's messages: the fields used, and what its instrument lists and names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Generic, TypeVar

import msgspec

from schemas import symbols
from schemas.instruments import Instrument

T = TypeVar("T")
Levels = list[tuple[float, float, float, float]]
"""Price, size, a deprecated zero, number of orders."""


class Arg(msgspec.Struct, gc=False):
    """What a message is about; ``liquidation-orders`` names no instrument."""

    channel: str
    instId: str = ""
    instType: str = ""


class Pushed(msgspec.Struct, Generic[T]):
    """A message with data."""

    arg: Arg
    data: list[T]
    action: str = ""


class Print(msgspec.Struct, gc=False):
    """``trades-all``: one fill. ``trades``: ``count`` fills of one taker order at one price, under the last's id."""

    instId: str
    tradeId: int
    px: float
    sz: float
    side: str
    ts: int
    count: int = 1


class Fills(msgspec.Struct):
    """``history-trades``, newest first."""

    data: list[Print]


class Depth(msgspec.Struct, gc=False):
    """``books`` (a snapshot, then changes) and ``books5``. ``checksum`` has been a constant 0 since 2026."""

    bids: Levels
    asks: Levels
    ts: int
    seqId: int = -1
    prevSeqId: int | None = None


class Candle(msgspec.Struct, gc=False, array_like=True):
    """``candle…``. Of a contract ``v`` counts contracts, ``first`` base and ``second`` quote units; of a spot pair
    ``v`` counts base, ``first`` and ``second`` quote units. Old recordings lack the last two."""

    ts: int
    o: float
    h: float
    low: float
    c: float
    v: float
    first: float
    second: float = -1.0
    confirm: str = "0"


class Detail(msgspec.Struct, gc=False):
    """One liquidation: ``posSide`` the position, ``side`` the order that closed it, ``bkPx`` the bankruptcy price."""

    side: str
    sz: float
    bkPx: float
    ts: int
    posSide: str = ""


class Liquidated(msgspec.Struct, gc=False):
    """``liquidation-orders``, by instrument."""

    instId: str
    details: list[Detail]


class FundingRate(msgspec.Struct, gc=False):
    """``funding-rate``: of the period that ends at ``fundingTime``; empty texts where there is none yet."""

    instId: str
    fundingTime: int
    fundingRate: str = ""
    nextFundingTime: str = ""
    ts: str = ""


class Mark(msgspec.Struct, gc=False):
    """``mark-price``."""

    instId: str
    markPx: float
    ts: int


class Index(msgspec.Struct, gc=False):
    """``index-tickers``; the instrument is an index such as ``BTC-USDT``."""

    instId: str
    idxPx: float
    ts: int


class OpenInterest(msgspec.Struct, gc=False):
    """``open-interest``: ``oi`` in contracts, ``oiCcy`` in the coin that is bought and sold."""

    instId: str
    oi: float
    oiCcy: float
    ts: int


class Head(msgspec.Struct):
    """What is told apart first; ``id`` is the request's."""

    event: str = ""
    arg: Arg | None = None
    id: str = ""
    code: str = ""
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()


_pushed: Any = Pushed  # subscripted at run time, which a type checker cannot follow
_BODIES: dict[str, Any] = {
    "trades-all": Print, "trades": Print, "books": Depth, "books5": Depth, "candle": Candle,
    "liquidation-orders": Liquidated, "funding-rate": FundingRate, "mark-price": Mark, "index-tickers": Index,
    "open-interest": OpenInterest,
}  # fmt: skip
KINDS = {
    "trades-all": "trade", "trades": "trade", "books": "book", "books5": "book", "candle": "kline",
    "liquidation-orders": "liquidation", "funding-rate": "funding", "mark-price": "funding",
    "index-tickers": "funding", "open-interest": "open_interest",
}  # fmt: skip
DECODE = {word: msgspec.json.Decoder(_pushed[body], strict=False).decode for word, body in _BODIES.items()}
decode_fills = msgspec.json.Decoder(Fills, strict=False).decode
decode_head = msgspec.json.Decoder(Head, strict=False).decode
REFUSED = re.compile(r"channel:\s*([\w-]+),\s*inst(?:Id|Type|Family):\s*([\w-]+)")
"""How an error message names the subscription it is about."""


# --- instruments -----------------------------------------------------------------------------------------------
class _Listed(msgspec.Struct):
    instId: str
    instType: str
    state: str = "live"
    baseCcy: str = ""
    quoteCcy: str = ""
    settleCcy: str = ""
    uly: str = ""
    instFamily: str = ""
    ctType: str = ""
    ctVal: str = ""
    ctMult: str = ""
    expTime: str = ""
    tickSz: str = ""
    lotSz: str = ""


class _Body(msgspec.Struct, Generic[T]):
    data: list[T]


class _Ticker(msgspec.Struct):
    instId: str
    last: str = ""
    volCcy24h: str = ""


_body: Any = _Body
_listed = msgspec.json.Decoder(_body[_Listed], strict=False).decode
_tickers = msgspec.json.Decoder(_body[_Ticker], strict=False).decode
_CONTRACT = re.compile(r"([A-Z0-9]+)-(USDT|USDC|USD)(_UM_XPERP)?-(SWAP|\d{6})")
_INVERSE_USD = {"BTC": 100.0}
"""An inverse contract is worth 10 USD, of Bitcoin 100."""
_SIZES = {
    "BTC": 0.01, "ETH": 0.1, "SOL": 1.0, "XRP": 100.0, "DOGE": 1000.0, "ADA": 100.0, "LTC": 1.0, "BCH": 0.1,
    "LINK": 1.0, "DOT": 1.0, "AVAX": 1.0, "TRX": 1000.0, "UNI": 1.0, "AAVE": 0.1, "NEAR": 10.0, "ETC": 10.0,
    "ATOM": 1.0, "FIL": 0.1, "XLM": 100.0, "SHIB": 1_000_000.0,
}  # fmt: skip
"""Base units of one USDT contract of the coins most traded; of the others only the exchange's list can tell."""


def instruments(body: bytes, *, kinds: Sequence[str]) -> list[Instrument]:
    """Instruments of ``/api/v5/public/instruments`` of these ``instType``s that a symbol can name."""
    found = []
    for it in _listed(body).data:
        try:
            if it.instType in kinds:
                found.append(_spot(it) if it.instType == "SPOT" else _contract(it))
        except (symbols.SymbolError, ValueError):
            continue  # an option, a spread, or a name outside the charset
    return found


def _spot(it: _Listed) -> Instrument:
    base, quote = symbols.coin(it.baseCcy), symbols.coin(it.quoteCcy)
    return Instrument("", symbols.spot(base, quote), it.instId, base, quote, quote, "spot",
                      tick_size=_number(it.tickSz), quantity_step=_number(it.lotSz), status=_status(it))  # fmt: skip


def _contract(it: _Listed) -> Instrument:
    base, quote = (it.uly or it.instFamily).split("-")[:2]
    base, quote, settle = symbols.coin(base), symbols.coin(quote.partition("_")[0]), symbols.coin(it.settleCcy)
    inverse = it.ctType == "inverse"
    size = (_number(it.ctVal) or 0.0) * (_number(it.ctMult) or 1.0)
    if size <= 0.0:
        raise ValueError("a contract without a size")
    expiry = None if it.instType == "SWAP" else "20" + it.instId.rsplit("-", 1)[1]
    lot = _number(it.lotSz)
    return Instrument(
        "", symbols.derivative(base, quote, settle, expiry), it.instId, base, quote, settle,
        "future" if expiry else "perpetual", inverse, size, _number(it.tickSz),
        round(lot * size, 12) if lot and not inverse else None, status=_status(it),
    )  # fmt: skip


def _status(it: _Listed) -> str:
    return "trading" if it.state == "live" else it.state


def _number(text: str) -> float | None:
    return float(text) if text else None


def volumes(body: bytes, *, contracts: bool) -> Mapping[str, float]:
    """24 h quote volume by instrument: of spot as told, of contracts from the base volume."""
    return {
        it.instId: float(it.volCcy24h or 0) * (float(it.last or 0) if contracts else 1.0) for it in _tickers(body).data
    }


def named_spot(native: str) -> Instrument | None:
    """``BTC-USDT``."""
    base, _, quote = native.partition("-")
    if not base or not quote or "-" in quote:
        return None
    base, quote = symbols.coin(base), symbols.coin(quote)
    return Instrument("", symbols.spot(base, quote), native, base, quote, quote, "spot")


def named_contract(native: str) -> Instrument | None:
    """``BTC-USDT-SWAP``, ``BTC-USD-261225``; the size is NaN where only the exchange's list can tell it."""
    match = _CONTRACT.fullmatch(native)
    if match is None:
        return None
    base, quote = symbols.coin(match[1]), match[2]
    inverse = quote == "USD" and not match[3]
    size = _INVERSE_USD.get(base, 10.0) if inverse else _SIZES.get(base, nan) if quote == "USDT" else nan
    expiry = None if match[4] == "SWAP" else "20" + match[4]
    settle = base if inverse else quote
    return Instrument("", symbols.derivative(base, quote, settle, expiry), native, base, quote, settle,
                      "future" if expiry else "perpetual", inverse, size)  # fmt: skip


def spelled_spot(symbol: str) -> str | None:
    """``BTC-USDT`` is itself."""
    return symbol if symbol.count("-") == 1 else None


def spelled_contract(symbol: str) -> str | None:
    """``BTC-USDT-PERP`` is ``BTC-USDT-SWAP``, ``BTC-USD-BTC-20261225`` is ``BTC-USD-261225``, if the size is known."""
    match = re.fullmatch(r"([A-Z0-9]+)-(USDT|USDC|USD)(?:-([A-Z0-9]+))?-(PERP|20\d{6})", symbol)
    if match is None or (match[3] or match[2]) != (match[1] if match[2] == "USD" else match[2]):
        return None
    native = f"{match[1]}-{match[2]}-{'SWAP' if match[4] == 'PERP' else match[4][2:]}"
    named = named_contract(native)
    return native if named is not None and named.contract_size > 0.0 else None


class _Problem(msgspec.Struct):
    code: str = "0"
    msg: str = ""


_problem = msgspec.json.Decoder(_Problem, strict=False).decode


def problem(body: bytes) -> str | None:
    """What an error body says, whatever status it came with; None for an answer."""
    try:
        found = _problem(body)
    except msgspec.MsgspecError:
        return "unreadable body"
    return None if found.code == "0" else f"{found.code} {found.msg}"
