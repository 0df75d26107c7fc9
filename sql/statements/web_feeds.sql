-- When each feed of {table} was heard last, our clock, since $1 µs.
SELECT exchange, symbol, max(received)::long FROM {table}
WHERE timestamp >= $1::long::timestamp GROUP BY exchange, symbol ORDER BY exchange, symbol;
