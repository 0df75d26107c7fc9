-- Our candles of $1 µs, of every symbol, made of closed minutes in [$2, $3) µs.
SELECT exchange, symbol, (timestamp::long / $1::long) * $1::long AS at, first(open), max(high), min(low), last(close),
    sum(buy + sell)
FROM candles
WHERE timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp
GROUP BY exchange, symbol, at;
