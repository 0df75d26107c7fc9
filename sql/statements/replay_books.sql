-- Books, their sides as text, by receipt in [$1, $2) µs, of those received before $3; what came over ten minutes late stands at its own time.
SELECT at::long, exchange, symbol, timestamp::long, received::long, sequence, bids::varchar, asks::varchar
FROM (
    SELECT *, CASE WHEN received > dateadd('m', 10, timestamp) THEN timestamp ELSE received END AS at FROM books
    WHERE timestamp >= dateadd('m', -10, $1::long::timestamp) AND timestamp < dateadd('m', 10, $2::long::timestamp)
        AND received < $3::long::timestamp
)
WHERE at >= $1::long::timestamp AND at < $2::long::timestamp ORDER BY at;
