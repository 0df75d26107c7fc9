-- What traded most since $1 µs: trades, value, last price.
SELECT exchange, symbol, count() AS trades, sum(value) AS value, last(price) AS price FROM trades
WHERE timestamp >= $1::long::timestamp GROUP BY exchange, symbol ORDER BY value DESC LIMIT 12;
