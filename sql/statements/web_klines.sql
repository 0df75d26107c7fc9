-- The exchange's candles as events; $6 interval.
-- $1 exchange and $2 symbol ('' for all), [$3, $4) µs, at most $5 rows.
SELECT exchange, symbol, timestamp::long, received::long, interval, open, high, low, close, volume, value, trades,
    source, revision
FROM klines
WHERE ($1 = '' OR exchange = $1) AND ($2 = '' OR symbol = $2)
    AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp AND interval = $6
ORDER BY timestamp {order} LIMIT $5::long;
