"""How other programs name exchanges and markets, both ways."""

from __future__ import annotations

from schemas.instruments import Instrument
from schemas.symbols import SIMULATED
from web._instruments import Instruments

FLOWSURFACE = {
    ("binance", "spot"): "binance", ("binance", "linear"): "binance_futures",
    ("binance", "inverse"): "binance_futures", ("bybit", "spot"): "bybit", ("bybit", "linear"): "bybit_futures",
    ("bybit", "inverse"): "bybit_futures", ("okx", "spot"): "okx", ("okx", "linear"): "okx_futures",
    ("okx", "inverse"): "okx_futures", ("hyperliquid", "spot"): "hyperliquid", ("hyperliquid", "linear"): "hyperliquid",
}  # fmt: skip
"""flowsurface's (venue, market) → our exchange."""
_AGGR = {
    "binance": "BINANCE", "binance_futures": "BINANCE_FUTURES", "bybit": "BYBIT", "bybit_futures": "BYBIT",
    "okx": "OKEX", "okx_futures": "OKEX", "coinbase": "COINBASE", "kraken": "KRAKEN", "kraken_futures": "KRAKEN",
    "bitget": "BITGET", "bitget_futures": "BITGET", "hyperliquid": "HYPERLIQUID", "deribit": "DERIBIT",
}  # fmt: skip
_LOWER = ("binance", "binance_futures")
_SPOT_MARKED = ("bybit", "bitget")
_KRAKEN_COINS = {"BTC": "XBT", "DOGE": "XDG"}


def flowsurface_symbol(instruments: Instruments, exchange: str, text: str) -> str | None:
    """Our symbol of flowsurface's raw one; Hyperliquid's carries the collateral behind the coin."""
    found = instruments.spelled(exchange, text)
    if found is None and exchange.removeprefix(SIMULATED) == "hyperliquid":
        found = instruments.spelled(exchange, text.lower().removesuffix("usdc"))
    return found


def aggr_market(instrument: Instrument) -> str:
    """aggr's id of an instrument: ``BINANCE:btcusdt``, ``BYBIT:BTCUSDT-SPOT``, ``KRAKEN:XBT/USD``."""
    exchange = instrument.exchange.removeprefix(SIMULATED)
    simulated = SIMULATED.upper() if instrument.exchange.startswith(SIMULATED) else ""
    symbol = instrument.exchange_symbol
    if exchange in _LOWER:
        symbol = symbol.lower()
    elif exchange in _SPOT_MARKED:
        symbol = f"{symbol}-SPOT"
    elif exchange == "kraken":
        symbol = f"{_KRAKEN_COINS.get(instrument.base, instrument.base)}/{instrument.quote}"
    return f"{simulated}{_AGGR[exchange]}:{symbol}"
