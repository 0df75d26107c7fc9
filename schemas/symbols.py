"""Canonical symbols: ``BASE-QUOTE``, ``BASE-QUOTE[-SETTLE]-PERP``, ``BASE-QUOTE[-SETTLE]-YYYYMMDD``."""

from __future__ import annotations

import re

EXCHANGES = (
    "binance", "bybit", "okx", "coinbase", "kraken", "bitget",
    "binance_futures", "bybit_futures", "okx_futures", "kraken_futures", "bitget_futures",
    "hyperliquid", "deribit",
)  # fmt: skip
"""Every exchange id; a simulated one is ``sim_<id>``."""
NUMBERED = frozenset({"binance", "binance_futures", "okx", "okx_futures", "coinbase", "kraken"})
"""Exchanges whose ``trade_id`` is a number, without holes within a symbol."""
SIMULATED = "sim_"
ALL = "all"
"""Reserved: sums over real exchanges."""

_SYMBOL = re.compile(r"[A-Z0-9-]{1,48}")
_EXCHANGE = re.compile(r"[a-z0-9_]{1,32}")
_COIN = re.compile(r"[A-Z0-9]{1,24}")
_RENAMED = {"XBT": "BTC", "XDG": "DOGE"}


class SymbolError(ValueError):
    """A symbol with characters that may not become a subject, a key or a row."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"symbol {symbol!r} is outside [A-Z0-9-]{{1,48}}")
        self.symbol = symbol


def is_symbol(text: str) -> bool:
    """Whether ``text`` may become a subject token, a Redis key part and a row."""
    return _SYMBOL.fullmatch(text) is not None


def is_numbered(exchange: str) -> bool:
    """Whether a symbol's trades bear numbers without holes, simulated or not."""
    return exchange.removeprefix(SIMULATED) in NUMBERED


def is_exchange(text: str) -> bool:
    """Whether ``text`` may be an exchange id."""
    return _EXCHANGE.fullmatch(text) is not None


def coin(text: str) -> str:
    """A coin's common name: upper case, ``XBT`` is ``BTC``, ``XDG`` is ``DOGE``, ``kPEPE`` is ``1000PEPE``.

    Raises SymbolError outside ``[A-Z0-9]``.
    """
    if text[:1] == "k" and text[1:].isupper():
        text = "1000" + text[1:]
    text = text.upper()
    if _COIN.fullmatch(text) is None:
        raise SymbolError(text)
    return _RENAMED.get(text, text)


def spot(base: str, quote: str) -> str:
    """``BTC-USDT``."""
    return f"{coin(base)}-{coin(quote)}"


def derivative(base: str, quote: str, settle: str, expiry: str | None = None) -> str:
    """``BTC-USDT-PERP``, ``BTC-USD-BTC-PERP`` (inverse), ``BTC-USDT-20261225``; ``expiry`` is YYYYMMDD."""
    middle = "" if coin(settle) == coin(quote) else f"-{coin(settle)}"
    return f"{coin(base)}-{coin(quote)}{middle}-{expiry or 'PERP'}"


def from_ccxt(text: str) -> str:
    """The canonical symbol of ccxt's ``BTC/USDT``, ``BTC/USDT:USDT`` or ``BTC/USD:BTC-261225``."""
    pair, _, settled = text.partition(":")
    base, _, quote = pair.partition("/")
    if not settled:
        return spot(base, quote)
    settle, _, expiry = settled.partition("-")
    return derivative(base, quote, settle, f"20{expiry}" if expiry else None)


def split_by_quote(text: str, quotes: tuple[str, ...]) -> tuple[str, str] | None:
    """Base and quote of a glued symbol such as ``BTCUSDT``, by the venue's quote list; the longest quote wins."""
    for quote in sorted(quotes, key=len, reverse=True):
        if text.endswith(quote) and len(text) > len(quote):
            return text[: -len(quote)], quote
    return None
