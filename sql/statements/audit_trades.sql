-- Per symbol and hour of exchange $1 in [$2, $3) µs: trades in the table, and the least and greatest of their numbers.
SELECT symbol, timestamp::long AS hour, count(), min(trade_id::long), max(trade_id::long) FROM trades
WHERE exchange = $1 AND timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp
SAMPLE BY 1h;
