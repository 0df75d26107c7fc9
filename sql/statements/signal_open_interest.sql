-- The last open interest of each five minutes since $1 µs, of every symbol.
SELECT exchange, symbol, max(timestamp)::long, last(open_interest), last(value)
FROM open_interest
WHERE timestamp >= $1::long::timestamp AND open_interest IS NOT NULL
GROUP BY exchange, symbol, timestamp_floor('5m', timestamp);
