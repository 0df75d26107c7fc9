-- The newest time of {table} of $1 exchange, $2 symbol before $3 µs.
SELECT timestamp::long FROM {table}
WHERE exchange = $1 AND symbol = $2 AND timestamp < $3::long::timestamp ORDER BY timestamp DESC LIMIT 1;
