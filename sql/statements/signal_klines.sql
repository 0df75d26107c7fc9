-- Candles of the exchanges of interval $1 since $2 µs, of every symbol.
SELECT exchange, symbol, timestamp::long, open, high, low, close, volume, revision, received::long FROM klines
WHERE interval = $1 AND timestamp >= $2::long::timestamp;
