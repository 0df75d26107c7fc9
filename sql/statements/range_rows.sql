-- Volume by row width and price of closed 1m candles of $1 exchange, $2 symbol in [$3, $4) µs.
SELECT "row", price, sum(buy), sum(sell) FROM footprints
WHERE exchange = $1 AND symbol = $2 AND timestamp >= $3::long::timestamp AND timestamp < $4::long::timestamp
    AND (buy > 0 OR sell > 0);
