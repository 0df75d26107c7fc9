"""Deribit's messages: the fields used, and what its instrument names mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from schemas import symbols
from schemas.instruments import Instrument


class Print(msgspec.Struct, gc=False):
    """A trade; ``direction`` is the taker's. ``amount`` is USD for inverse futures, coins for everything else."""

    instrument_name: str
    trade_id: str
    trade_seq: int
    timestamp: int
    price: float
    amount: float
    direction: str
    liquidation: str | None = None
    """Who was liquidated: ``T`` the taker, ``M`` the maker, ``MT`` both."""
    block_trade_id: str | int | None = None
    block_rfq_id: str | int | None = None
    combo_id: str | None = None


class Book(msgspec.Struct, gc=False):
    """``book.<instrument>.none.<depth>.<interval>``: the whole top, price and amount."""

    instrument_name: str
    timestamp: int
    change_id: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class Ticker(msgspec.Struct, gc=False):
    """``ticker``; only perpetuals have ``current_funding``, as a rate for eight hours."""

    instrument_name: str
    timestamp: int
    mark_price: float
    open_interest: float | None = None
    index_price: float | None = None
    current_funding: float | None = None


class Bar(msgspec.Struct, gc=False):
    """``chart.trades``: the candle that began at ``tick``, as it stands; ``volume`` in coins, ``cost`` in USD."""

    tick: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    cost: float


class _Prints(msgspec.Struct, gc=False):
    data: list[Print]


class _Trades(msgspec.Struct):
    trades: list[Print]


class Past(msgspec.Struct):
    """``get_last_trades_by_instrument``."""

    result: _Trades


class _Book(msgspec.Struct, gc=False):
    data: Book


class _Ticker(msgspec.Struct, gc=False):
    data: Ticker


class _Bar(msgspec.Struct, gc=False):
    data: Bar


class _TradesFrame(msgspec.Struct, gc=False):
    params: _Prints


class _BookFrame(msgspec.Struct, gc=False):
    params: _Book


class _TickerFrame(msgspec.Struct, gc=False):
    params: _Ticker


class _BarFrame(msgspec.Struct, gc=False):
    params: _Bar


class Error(msgspec.Struct):
    """A JSON-RPC error."""

    code: int
    message: str


class _Type(msgspec.Struct, frozen=True):
    type: str = ""


class Head(msgspec.Struct):
    """A frame that is no subscription's: an answer, an error, a heartbeat."""

    id: int | None = None
    method: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Error | None = None
    params: _Type = _Type()


def _decoder(body: Any) -> Any:
    return msgspec.json.Decoder(body).decode


DECODE = {
    "trades": _decoder(_TradesFrame), "book": _decoder(_BookFrame), "ticker": _decoder(_TickerFrame),
    "chart": _decoder(_BarFrame),
}  # fmt: skip
KINDS = {"trades": "trade", "book": "book", "ticker": "funding", "chart": "kline"}
decode_past = _decoder(Past)
decode_head = _decoder(Head)
decode_names = _decoder(list[str])


def call(number: int, method: str, params: Any) -> bytes:
    """A JSON-RPC request."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": f"public/{method}", "params": params})


# --- instruments -----------------------------------------------------------------------------------------------
class _Listed(msgspec.Struct):
    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    tick_size: float
    contract_size: float = 1.0
    settlement_currency: str | None = None
    settlement_period: str = ""
    instrument_type: str = ""
    future_type: str = ""
    is_active: bool = True


class _Listing(msgspec.Struct):
    result: list[_Listed]


_listing = _decoder(_Listing)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NAME = re.compile(r"([A-Z0-9]{1,16})(?:_([A-Z0-9]{2,8}))?(?:-(PERPETUAL|\d{1,2}[A-Z]{3}\d{2}))?")
_DATE = re.compile(r"(\d{1,2})([A-Z]{3})(\d{2})")
_SYMBOL = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)(?:-([A-Z0-9]+?))??(?:-(PERP|20\d{6}))?")
FOREIGN = re.compile(r"[A-Z0-9_]{1,24}-(?:\d{1,2}[A-Z]{3}\d{2}-[\dd]{1,16}-[CP]|[A-Z]{2,8}-.{1,48})")
"""Options, and combos of several legs: not what we follow."""


def instruments(body: bytes) -> Sequence[Instrument]:
    """Futures, perpetuals and spot of ``get_instruments``; the unit of amounts is 1 USD or 1 coin throughout."""
    found = []
    for it in _listing(body).result:
        plain = None if it.kind not in ("future", "spot") else named(it.instrument_name)
        if plain is None:
            continue
        status = "trading" if it.is_active else "inactive"
        step = None if plain.inverse else it.contract_size
        found.append(msgspec.structs.replace(plain, tick_size=it.tick_size, quantity_step=step, status=status))
    return found


def named(native: str) -> Instrument | None:
    """``BTC-PERPETUAL`` and ``BTC-25DEC26`` (inverse), ``BTC_USDC-PERPETUAL`` (linear), ``BTC_USDC`` (spot)."""
    match = _NAME.fullmatch(native)
    if match is None or not (match[2] or match[3]):
        return None
    base, quote = match[1], match[2] or "USD"
    settle, ends = match[2] or base, match[3]
    if ends is None:
        return Instrument("", symbols.spot(base, quote), native, base, quote, quote, "spot")
    expiry = None if ends == "PERPETUAL" else _expiry(ends)
    if ends != "PERPETUAL" and expiry is None:
        return None
    symbol = symbols.derivative(base, quote, settle, expiry)
    kind = "future" if expiry else "perpetual"
    return Instrument("", symbol, native, base, quote, settle, kind, inverse=match[2] is None)  # type: ignore[arg-type]  # one of the two


def spelled(symbol: str) -> str | None:
    """``BTC-USD-BTC-PERP`` is ``BTC-PERPETUAL``, ``BTC-USDC-20261225`` is ``BTC_USDC-25DEC26``."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        return None
    base, quote, settle, ends = match.groups()
    if quote == "USD":
        if settle != base or ends is None:
            return None
        stem = base
    elif settle is not None:
        return None
    else:
        stem = f"{base}_{quote}"
    if ends in (None, "PERP"):
        return stem if ends is None else f"{stem}-PERPETUAL"
    month = int(ends[4:6])
    return f"{stem}-{int(ends[6:])}{_MONTHS[month - 1]}{ends[2:4]}" if 1 <= month <= 12 else None


def _expiry(text: str) -> str | None:
    match = _DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    return f"20{match[3]}{_MONTHS.index(match[2]) + 1:02d}{int(match[1]):02d}"


def problem(body: bytes) -> str | None:
    """What a JSON-RPC error says; None for an answer."""
    if b'"error"' not in body[:200]:
        return None
    try:
        error = decode_head(body).error
    except msgspec.MsgspecError:
        return "unreadable error body"
    return f"{error.code} {error.message}" if error is not None else None
