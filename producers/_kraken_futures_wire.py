"""Kraken Futures' messages: the fields used, and what contract names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from producers._candles import Row
from schemas import symbols, time
from schemas.instruments import Instrument


class Print(msgspec.Struct, gc=False):
    """``trade``; ``side`` is the taker's, ``qty`` contracts, ``seq`` dense per product."""

    product_id: str
    side: str
    seq: int
    time: int
    qty: float
    price: float
    type: str = "fill"
    uid: str = ""


class PastPrint(msgspec.Struct, gc=False):
    """A row of REST ``history``, newest first; ``trade_id`` is the dense number."""

    time: str
    trade_id: int
    price: float
    size: float
    side: str
    type: str = "fill"
    uid: str = ""


class Past(msgspec.Struct):
    """REST ``history``."""

    history: list[PastPrint]


class Replay(msgspec.Struct):
    """``trade_snapshot``: newest first."""

    product_id: str
    trades: list[Print]


class Level(msgspec.Struct, gc=False):
    """A level of a snapshot."""

    price: float
    qty: float


class Snapshot(msgspec.Struct):
    """``book_snapshot``."""

    product_id: str
    seq: int
    bids: list[Level]
    asks: list[Level]
    timestamp: int = 0


class Change(msgspec.Struct, gc=False):
    """``book``: one level's new size, 0 takes it away; ``seq`` follows the one before."""

    product_id: str
    side: str
    seq: int
    price: float
    qty: float
    timestamp: int = 0


class Ticker(msgspec.Struct, gc=False):
    """``ticker``. The plain ``funding_rate`` is an amount of money a contract; only the relative one is a rate."""

    product_id: str
    time: int
    markPrice: float | None = None
    index: float | None = None
    openInterest: float | None = None
    relative_funding_rate: float | None = None
    next_funding_rate_time: int | None = None


class Head(msgspec.Struct):
    """What tells a message apart whose ``feed`` does not come first."""

    feed: str = ""
    event: str = ""
    message: str = ""
    product_ids: list[str] = []


decode_print = msgspec.json.Decoder(Print, strict=False).decode
decode_replay = msgspec.json.Decoder(Replay, strict=False).decode
decode_snapshot = msgspec.json.Decoder(Snapshot, strict=False).decode
decode_change = msgspec.json.Decoder(Change, strict=False).decode
decode_ticker = msgspec.json.Decoder(Ticker, strict=False).decode
decode_past = msgspec.json.Decoder(Past, strict=False).decode
decode_head = msgspec.json.Decoder(Head).decode


# --- REST ------------------------------------------------------------------------------------------------------
class _Candle(msgspec.Struct):
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class _Candles(msgspec.Struct):
    candles: list[_Candle]


class _Contract(msgspec.Struct):
    symbol: str
    type: str
    tradeable: bool = False
    contractSize: float = 1.0
    tickSize: float | None = None
    contractValueTradePrecision: int | None = None


class _Contracts(msgspec.Struct):
    instruments: list[_Contract]


class _Turnover(msgspec.Struct):
    symbol: str
    vol24h: float = 0.0
    last: float = 0.0


class _Turnovers(msgspec.Struct):
    tickers: list[_Turnover]


class _Problem(msgspec.Struct):
    result: str = ""
    error: str = ""


_candles = msgspec.json.Decoder(_Candles, strict=False).decode
_contracts = msgspec.json.Decoder(_Contracts, strict=False).decode
_turnovers = msgspec.json.Decoder(_Turnovers, strict=False).decode
_problem = msgspec.json.Decoder(_Problem).decode
_TYPES = ("futures_inverse", "flexible_futures", "futures_vanilla")
_NAME = re.compile(r"(PI|FI|PF|FF|PV|FV)_([A-Za-z0-9]+?)(?:_(\d{6}))?")
_SYMBOL = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)(?:-([A-Z0-9]+))?-(PERP|20\d{6})")
_QUOTES = ("USD", "XBT", "EUR", "GBP", "USDT", "USDC")


def rows(body: bytes, _: Instrument) -> list[Row]:
    """Candles of the charts API; volume in contracts."""
    return [
        Row(it.time * time.MILLISECOND, it.open, it.high, it.low, it.close, it.volume) for it in _candles(body).candles
    ]


def instruments(body: bytes) -> list[Instrument]:
    """Futures of ``/instruments``; indices and whatever else is listed there are left out."""
    found = []
    for it in _contracts(body).instruments:
        native = it.symbol.upper() if it.symbol.islower() else it.symbol  # recordings of before 2022 are lower case
        plain = named(native) if it.type in _TYPES else None
        if plain is None:
            continue
        step = None
        if it.contractValueTradePrecision is not None and not plain.inverse:
            step = it.contractSize * float(Decimal(1).scaleb(-it.contractValueTradePrecision))
        found.append(
            msgspec.structs.replace(
                plain, contract_size=it.contractSize, tick_size=it.tickSize or None, quantity_step=step,
                status="trading" if it.tradeable else "untradeable",
            )
        )  # fmt: skip
    return found


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume: inverse contracts are dollars already."""
    return {
        it.symbol: it.vol24h if it.symbol[:3] in ("PI_", "FI_") else it.vol24h * it.last
        for it in _turnovers(body).tickers
    }


def named(native: str) -> Instrument | None:
    """``PF_XBTUSD`` linear, ``PI_XBTUSD`` inverse (contracts of 1 USD), ``FI_XBTUSD_261225`` dated."""
    match = _NAME.fullmatch(native)
    pair = symbols.split_by_quote(match[2], _QUOTES) if match else None
    if match is None or pair is None or (match[1][0] == "F") != bool(match[3]):
        return None
    inverse = match[1] in ("PI", "FI")
    base, quote = symbols.coin(pair[0]), symbols.coin(pair[1])
    settle = base if inverse else quote
    symbol = symbols.derivative(base, quote, settle, f"20{match[3]}" if match[3] else None)
    return Instrument("", symbol, native, base, quote, settle, "future" if match[3] else "perpetual", inverse)


def spelled(symbol: str) -> str | None:
    """``BTC-USD-PERP`` is ``PF_XBTUSD``, ``BTC-USD-BTC-20261225`` is ``FI_XBTUSD_261225``."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None or match[3] not in (None, match[1]):
        return None
    base, quote = ("XBT" if coin == "BTC" else coin for coin in (match[1], match[2]))
    dated = match[4] != "PERP"
    kind = "I" if match[3] else "F" if quote == "USD" else "V"
    return f"{'F' if dated else 'P'}{kind}_{base}{quote}" + (f"_{match[4][2:]}" if dated else "")


def problem(body: bytes) -> str | None:
    """What an error body says; None for an answer."""
    if b'"error"' not in body[:200]:
        return None
    try:
        found = _problem(body)
    except msgspec.MsgspecError:
        return "unreadable error body"
    return found.error[:300] or "error" if found.result == "error" else None
