-- Per symbol and hour of the trades of exchange $1 in [$2, $3) µs, over gaps that are settled: ids that never existed,
-- ids that cannot be had, ids still looked for.
SELECT symbol, timestamp_floor('h', timestamp)::long AS hour,
    sum(CASE WHEN status IN ('filled', 'nonexistent') THEN expected - filled ELSE 0 END),
    sum(CASE WHEN status IN ('partial', 'unfillable') THEN expected - filled ELSE 0 END)
FROM gaps
WHERE exchange = $1 AND channel = 'trades' AND expected IS NOT NULL
    AND timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp
GROUP BY symbol, hour;
