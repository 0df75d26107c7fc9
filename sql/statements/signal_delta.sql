-- Delta of $1 exchange, $2 symbol over closed 1m candles before $3 µs.
SELECT coalesce(sum(buy) - sum(sell), 0.0) FROM candles
WHERE exchange = $1 AND symbol = $2 AND timestamp < $3::long::timestamp;
