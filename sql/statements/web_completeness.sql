-- What audits found, slot by slot.
-- $1 exchange and $2 symbol ('' for all), [$3, $4) µs, at most $5 rows.
SELECT exchange, symbol, channel, timestamp::long, slot, expected, present, missing, nonexistent, unfillable,
    updated::long, percent, verdict, evidence
FROM completeness
WHERE ($1 = '' OR exchange = $1) AND ($2 = '' OR symbol = $2)
    AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    AND ($6 = '' OR channel = $6)
ORDER BY timestamp {order} LIMIT $5::long;
