-- The first trade of each symbol of exchange $1 in [$2, $3) µs.
SELECT symbol, min(timestamp)::long FROM trades
WHERE exchange = $1 AND timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp;
