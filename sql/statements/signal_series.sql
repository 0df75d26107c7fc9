-- Each symbol that has closed 1m candles: first and last open time.
SELECT exchange, symbol, min(timestamp)::long, max(timestamp)::long FROM candles;
