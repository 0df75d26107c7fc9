-- The newest $4 candles of $1 exchange, $2 symbol, $3 interval.
SELECT timestamp::long, received::long, open, high, low, close, volume, value, trades, source, revision FROM klines
WHERE exchange = $1 AND symbol = $2 AND interval = $3
ORDER BY timestamp DESC LIMIT $4;
