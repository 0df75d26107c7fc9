"""Hyperliquid's messages: the fields used, and what its universe and coin names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from schemas import symbols
from schemas.instruments import Instrument


class Print(msgspec.Struct, gc=False):
    """One fill; ``side`` B: the aggressor bought, A: it sold."""

    coin: str
    side: str
    px: float
    sz: float
    time: int
    tid: int


class Level(msgspec.Struct, gc=False):
    """A price, its size in coins."""

    px: float
    sz: float


class Book(msgspec.Struct, gc=False):
    """``levels``: bids, asks. ``fast`` marks another feed that shares the channel's name."""

    coin: str
    time: int
    levels: tuple[list[Level], list[Level]]
    fast: bool = False


class Candle(msgspec.Struct, gc=False):
    """A candle as it stands; it never says that it is closed."""

    t: int
    s: str
    i: str
    o: float
    h: float
    low: float = msgspec.field(name="l")
    c: float
    v: float
    n: int


class Context(msgspec.Struct, gc=False):
    """``funding`` of the running hour, ``openInterest`` in coins; the frame has no time."""

    funding: float
    openInterest: float
    markPx: float | None = None
    oraclePx: float | None = None
    dayNtlVlm: float = 0.0


class AssetContext(msgspec.Struct, gc=False):
    """``activeAssetCtx``."""

    coin: str
    ctx: Context


class _Trades(msgspec.Struct, gc=False):
    data: list[Print]


class _Book(msgspec.Struct, gc=False):
    data: Book


class _Candle(msgspec.Struct, gc=False):
    data: Candle


class _AssetContext(msgspec.Struct, gc=False):
    data: AssetContext


class Head(msgspec.Struct):
    """What tells a frame apart."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Subscription(msgspec.Struct):
    type: str
    coin: str = ""
    interval: str = ""


def _decoder(body: Any) -> Any:
    return msgspec.json.Decoder(body, strict=False).decode


DECODE = {
    "trades": _decoder(_Trades), "l2Book": _decoder(_Book), "candle": _decoder(_Candle),
    "activeAssetCtx": _decoder(_AssetContext),
}  # fmt: skip
KINDS = {"trades": "trade", "l2Book": "book", "candle": "kline", "activeAssetCtx": "funding"}
decode_head = msgspec.json.Decoder(Head).decode
decode_text = msgspec.json.Decoder(str).decode
_subscription = msgspec.json.Decoder(_Subscription).decode


def topic(kind: str, coin: str, interval: str = "") -> str:
    """Our name of a subscription; coins may hold a colon, never a bar."""
    return f"{kind}|{coin}|{interval}" if interval else f"{kind}|{coin}"


def request(method: str, name: str) -> bytes:
    """The message that subscribes or unsubscribes one topic."""
    kind, coin, *interval = name.split("|")
    subscription = {"type": kind, "coin": coin} | ({"interval": interval[0]} if interval else {})
    return msgspec.json.encode({"method": method, "subscription": subscription})


def refused(text: str) -> str | None:
    """The topic an error message quotes, None where it quotes none."""
    start = text.find("{")
    try:
        found = _subscription(text[start : text.rfind("}") + 1].encode()) if start >= 0 else None
    except msgspec.MsgspecError:
        return None
    return topic(found.type, found.coin, found.interval) if found else None


# --- instruments -----------------------------------------------------------------------------------------------
class _Asset(msgspec.Struct):
    name: str
    szDecimals: int
    isDelisted: bool | None = None


class _Universe(msgspec.Struct):
    universe: list[_Asset]


_universe = msgspec.json.Decoder(_Universe).decode
_contexts = msgspec.json.Decoder(tuple[_Universe, list[Context]], strict=False).decode
_PRICE_DECIMALS = 6
_COIN = re.compile(r"[A-Za-z0-9]{1,24}")


def instruments(body: bytes) -> list[Instrument]:
    """Perpetuals of ``meta``. Prices have at most 6 − ``szDecimals`` decimals: the finest grid they all lie on."""
    found = []
    for it in _universe(body).universe:
        plain = named(it.name)
        if plain is None or not 0 <= it.szDecimals <= _PRICE_DECIMALS:
            continue
        tick, step = float(f"1e-{_PRICE_DECIMALS - it.szDecimals}"), float(f"1e-{it.szDecimals}")
        status = "delisted" if it.isDelisted else "trading"
        found.append(msgspec.structs.replace(plain, tick_size=tick, quantity_step=step, status=status))
    return found


def volumes(body: bytes) -> Mapping[str, float]:
    """24 h quote volume by coin, of ``metaAndAssetCtxs``."""
    meta, contexts = _contexts(body)
    return {it.name: context.dayNtlVlm for it, context in zip(meta.universe, contexts, strict=False)}


def named(coin: str) -> Instrument | None:
    """``BTC``; not the spot's ``@107`` or ``PURR/USDC``, nor ``dex:COIN``, whose collateral only its builder names."""
    if _COIN.fullmatch(coin) is None:
        return None
    base = symbols.coin(coin)
    return Instrument("", symbols.derivative(base, "USDC", "USDC"), coin, base, "USDC", "USDC", "perpetual")


def spelled(symbol: str) -> str | None:
    """``BTC-USDC-PERP`` is ``BTC``, ``1000PEPE-USDC-PERP`` is ``kPEPE``."""
    base = symbol.removesuffix("-USDC-PERP")
    if base == symbol or _COIN.fullmatch(base) is None:
        return None
    return f"k{base[4:]}" if base.startswith("1000") and base[4:].isalpha() else base


def problem(body: bytes) -> str | None:
    """Errors come as text with a status of their own."""
    return "an error body" if body.startswith(b'{"error"') else None
