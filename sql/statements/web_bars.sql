-- Bars of $1 exchange, $2 symbol, $5 µs each, from our closed minutes in [$3, $4) µs.
SELECT timestamp::long / $5::long * $5::long AS start, first(open), max(high), min(low), last(close), sum(buy_value),
    sum(sell_value), sum(buys), sum(sells), max(timestamp)::long
FROM (
    SELECT timestamp, open, high, low, close, buy_value, sell_value, buys, sells FROM candles
    WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    ORDER BY timestamp
)
ORDER BY start;
