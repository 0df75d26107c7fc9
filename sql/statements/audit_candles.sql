-- Per symbol and hour of exchange $1 in [$2, $3) µs, over the {interval} candles the exchange has told: how many, what
-- they count and sum up, and what the table of trades has in the same slots. Counts only where the exchange counts.
WITH
    told AS (
        SELECT symbol, timestamp, trades, volume FROM klines
        WHERE exchange = $1 AND interval = '{interval}'
            AND timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp
    ),
    have AS (
        SELECT symbol AS name, timestamp AS slot, sum(fills) AS fills, sum(quantity) AS quantity FROM trades
        WHERE exchange = $1 AND timestamp >= $2::long::timestamp AND timestamp < $3::long::timestamp
        SAMPLE BY {interval}
    )
SELECT symbol, timestamp_floor('h', timestamp)::long AS hour, count(),
    count(trades), sum(trades), sum(CASE WHEN trades IS NOT NULL THEN coalesce(fills, 0) ELSE 0 END),
    sum(volume), sum(coalesce(quantity, 0.0))
FROM (SELECT * FROM told LEFT JOIN have ON told.symbol = have.name AND told.timestamp = have.slot)
GROUP BY symbol, hour;
