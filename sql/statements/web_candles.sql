-- Candles of $1 exchange, $2 symbol made of our closed minutes: open times in [$4, $5) µs, each $6 µs long.
-- $3 is 00:00 UTC of the day of $4: cumulative delta begins there.
SELECT bucket * $6::long AS timestamp, first(open), max(high), min(low), last(close), sum(buy), sum(sell),
    min(running - delta + min_delta), max(running - delta + max_delta), last(cvd), sum(buys + sells), max(revision),
    min(complete), max(sequence), max(as_of), count()
FROM (
    SELECT timestamp, bucket, open, high, low, close, buy, sell, buys, sells, min_delta, max_delta, delta, revision,
        complete, sequence, as_of,
        sum(delta) OVER (
            PARTITION BY bucket ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS running,
        sum(delta) OVER (
            PARTITION BY day ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS cvd
    FROM (
        SELECT timestamp, timestamp::long / $6::long AS bucket, timestamp::long / 86400000000L AS day,
            open, high, low, close, buy, sell, buys, sells, min_delta, max_delta, buy - sell AS delta, revision,
            CASE WHEN complete THEN 1 ELSE 0 END AS complete, sequence, as_of::long AS as_of
        FROM candles
        WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $5::long::timestamp
        ORDER BY timestamp
    )
)
WHERE timestamp >= $4::long::timestamp
GROUP BY bucket ORDER BY bucket;
