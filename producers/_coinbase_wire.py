"""Coinbase Exchange's messages: the fields used, and what its product list and symbol spellings mean."""

from __future__ import annotations

import msgspec

from producers._candles import Row
from schemas import symbols, time
from schemas.instruments import Instrument


class Match(msgspec.Struct, gc=False):
    """``match`` and ``last_match``: one fill. ``side`` is the MAKER's."""

    product_id: str
    trade_id: int
    price: float
    size: float
    side: str
    time: str


class Fill(msgspec.Struct, gc=False):
    """A row of ``/trades``, newest first. ``side`` is the MAKER's."""

    trade_id: int
    price: float
    size: float
    side: str
    time: str


class Heartbeat(msgspec.Struct, gc=False):
    """``heartbeat``: once a second a product, whether it trades or not."""

    product_id: str
    last_trade_id: int
    time: str


class Snapshot(msgspec.Struct):
    """``snapshot``: the whole book, price and size."""

    product_id: str
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    time: str = ""


class Update(msgspec.Struct):
    """``l2update``: side (of the resting orders), price, new size; 0 takes the level away."""

    product_id: str
    changes: list[tuple[str, float, float]]
    time: str


class Refusal(msgspec.Struct):
    """``error``."""

    message: str
    reason: str = ""


class Head(msgspec.Struct):
    """What tells a message apart whose ``type`` does not come first."""

    type: str = ""


decode_match = msgspec.json.Decoder(Match, strict=False).decode
decode_heartbeat = msgspec.json.Decoder(Heartbeat, strict=False).decode
decode_snapshot = msgspec.json.Decoder(Snapshot, strict=False).decode
decode_update = msgspec.json.Decoder(Update, strict=False).decode
decode_refusal = msgspec.json.Decoder(Refusal).decode
decode_fills = msgspec.json.Decoder(list[Fill], strict=False).decode
decode_head = msgspec.json.Decoder(Head).decode
_rows = msgspec.json.Decoder(list[tuple[int, float, float, float, float, float]], strict=False).decode


class _Product(msgspec.Struct):
    id: str
    base_currency: str
    quote_currency: str
    quote_increment: float
    base_increment: float
    status: str = "online"
    trading_disabled: bool = False


class _Problem(msgspec.Struct):
    message: str


_products = msgspec.json.Decoder(list[_Product], strict=False).decode
_problem = msgspec.json.Decoder(_Problem).decode


def instruments(body: bytes) -> list[Instrument]:
    """Instruments of ``/products``; those whose names leave the charset are left out."""
    found = []
    for it in _products(body):
        try:
            plain = _spot(it.id, it.base_currency, it.quote_currency)
        except symbols.SymbolError:
            continue
        status = "trading" if it.status == "online" and not it.trading_disabled else (
            it.status if it.status != "online" else "disabled"
        )  # fmt: skip
        sizes = {"tick_size": it.quote_increment or None, "quantity_step": it.base_increment or None}
        found.append(msgspec.structs.replace(plain, status=status, **sizes))
    return found


def named(native: str) -> Instrument | None:
    """``BTC-USD`` says it all."""
    base, _, quote = native.partition("-")
    return _spot(native, base, quote) if base and quote and "-" not in quote else None


def spelled(symbol: str) -> str | None:
    """Canonical symbols are Coinbase's own."""
    return symbol if symbol.count("-") == 1 else None


def rows(body: bytes, _: Instrument) -> list[Row]:
    """Candles: time in seconds, low, high, open, close, volume. Low and high come BEFORE open and close."""
    return [
        Row(seconds * time.SECOND, opened, high, low, closed, volume)
        for seconds, low, high, opened, closed, volume in _rows(body)
    ]


def problem(body: bytes) -> str | None:
    """What an error body says; None for an answer."""
    if not body.lstrip().startswith(b'{"message"'):
        return None
    try:
        return _problem(body).message
    except msgspec.MsgspecError:
        return "unreadable error body"


def _spot(native: str, base: str, quote: str) -> Instrument:
    return Instrument("", symbols.spot(base, quote), native, symbols.coin(base), symbols.coin(quote),
                      symbols.coin(quote), "spot")  # fmt: skip
