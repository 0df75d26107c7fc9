-- Bars of $1 exchange, $2 symbol, $5 µs each, from trades in [$3, $4) µs.
SELECT timestamp::long / $5::long * $5::long AS start, first(price), max(price), min(price), last(price),
    sum(CASE WHEN is_buyer_maker THEN 0.0 ELSE value END), sum(CASE WHEN is_buyer_maker THEN value ELSE 0.0 END),
    sum(CASE WHEN is_buyer_maker THEN 0 ELSE 1 END), sum(CASE WHEN is_buyer_maker THEN 1 ELSE 0 END),
    max(timestamp)::long
FROM (
    SELECT timestamp, price, value, is_buyer_maker FROM trades
    WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    ORDER BY timestamp
)
ORDER BY start;
