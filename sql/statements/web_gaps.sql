-- Holes as events, each in its last state.
-- $1 exchange and $2 symbol ('' for all), [$3, $4) µs, at most $5 rows.
SELECT exchange, symbol, timestamp::long, received::long, channel, from_id, to_id, from_timestamp::long,
    to_timestamp::long, cause, status, expected, filled, evidence, updated::long, revision
FROM gaps
WHERE ($1 = '' OR exchange = $1) AND ($2 = '' OR symbol = $2)
    AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    AND ($6 = '' OR status = $6) AND ($7 = '' OR channel = $7)
ORDER BY timestamp {order} LIMIT $5::long;
