-- Trades of $1 exchange, $2 symbol in [$3, $4) µs for a chart, oldest first, at most $5.
SELECT timestamp::long, price, quantity, value, is_buyer_maker FROM trades
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
ORDER BY timestamp LIMIT $5::long;
