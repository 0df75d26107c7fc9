"""Binance's rolling day: ``ticker/24hr``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from simulator._binance_rest import History
from simulator._binance_streams import Instrument
from simulator._candles import DAY_MS, candle
from simulator._text import decimal
from simulator._venue import Desk, Query


def ticker_24h(history: History) -> Callable[[Desk, Query], Awaitable[Any]]:
    """The route of one market; without a symbol, of all of its symbols."""

    async def answer(desk: Desk, query: Query) -> Any:
        if "symbol" in query:
            return _ticker(history.instrument(desk, query), desk.now_ms())
        found = []
        for symbol in desk.tapes:
            instrument = history.instruments(desk, symbol)
            if instrument is not None:
                found.append(_ticker(instrument, desk.now_ms()))
            await desk.breathe()
        return found

    return answer


def _ticker(instrument: Instrument, now_ms: int) -> dict[str, Any]:
    listing, texts = instrument.tape.listing, instrument.texts
    made = candle(instrument.tape, now_ms - DAY_MS, now_ms, now_ms)
    if made is None:
        return {"symbol": instrument.symbol, "count": 0}
    change = decimal((made.close - made.open) * listing.tick, listing.price_decimals)
    average = made.value // made.volume
    return {
        "symbol": instrument.symbol,
        "priceChange": change,
        "priceChangePercent": f"{(made.close / made.open - 1) * 100:.3f}",
        "weightedAvgPrice": texts.price(average),
        "lastPrice": texts.price(made.close),
        "openPrice": texts.price(made.open),
        "highPrice": texts.price(made.high),
        "lowPrice": texts.price(made.low),
        "volume": texts.quantity(made.volume),
        "baseVolume" if instrument.inverse else "quoteVolume": instrument.worth(made.volume, made.value),
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "firstId": made.first_id,
        "lastId": made.last_id,
        "count": made.trades,
    }
