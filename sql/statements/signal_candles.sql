-- Closed 1m candles of $1 exchange, $2 symbol in [$3, $4) µs.
SELECT timestamp::long, open, high, low, close, buy, sell, buy_value, sell_value, buys, sells, min_delta, max_delta,
    revision, complete, sequence, as_of::long, trades,
    coalesce(vwap, (buy_value + sell_value) / (buy + sell)), variance
FROM candles
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
ORDER BY timestamp;
