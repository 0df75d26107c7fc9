-- Since which hour there are trades of each symbol.
SELECT exchange, symbol, min(timestamp)::long FROM trades_OHLC_1h;
