-- Value liquidated of $1 exchange, $2 symbol in each $5 µs of [$3, $4) µs: shorts (forced buys), longs (forced sells).
SELECT timestamp::long / $5::long * $5::long AS start, sum(CASE WHEN side = 'short' THEN value ELSE 0.0 END),
    sum(CASE WHEN side = 'long' THEN value ELSE 0.0 END)
FROM liquidations
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
ORDER BY start;
