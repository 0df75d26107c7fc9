-- Price rows of $1 exchange, $2 symbol over our closed minutes in [$3, $4) µs, added up over each $5 µs.
SELECT timestamp::long / $5::long * $5::long AS start, "row", level, max(price), sum(buy) AS buy, sum(sell) AS sell
FROM footprints
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    AND (buy > 0 OR sell > 0)
ORDER BY start, level;
