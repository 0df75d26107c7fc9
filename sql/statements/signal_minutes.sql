-- Range, volume and value of our closed minutes since $1 µs, of every symbol.
SELECT exchange, symbol, timestamp::long, low, high, buy + sell, buy_value + sell_value FROM candles
WHERE timestamp >= $1::long::timestamp;
