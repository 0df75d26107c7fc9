-- The oldest time of {table} of $1 exchange, $2 symbol in [$3, $4) µs.
SELECT timestamp::long FROM {table}
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
ORDER BY timestamp LIMIT 1;
