-- Book snapshots as events; a side is text, [[prices],[quantities]].
-- $1 exchange and $2 symbol ('' for all), [$3, $4) µs, at most $5 rows.
SELECT exchange, symbol, timestamp::long, received::long, sequence, bids::varchar, asks::varchar
FROM books
WHERE ($1 = '' OR exchange = $1) AND ($2 = '' OR symbol = $2)
    AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
ORDER BY timestamp {order} LIMIT $5::long;
