-- The last rate of each funding period since $1 µs, of every symbol.
SELECT exchange, symbol, max(timestamp)::long, last(funding_rate), last(interval_hours), next_funding::long
FROM funding
WHERE timestamp >= $1::long::timestamp AND next_funding IS NOT NULL AND funding_rate IS NOT NULL
GROUP BY exchange, symbol, next_funding;
