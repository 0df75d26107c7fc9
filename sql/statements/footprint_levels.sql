-- The rows of one candle ($1 exchange, $2 symbol, $3 open time in µs) that a revision before $4 left with volume.
SELECT level, price, "row" FROM footprints
WHERE exchange = $1 AND symbol = $2 AND timestamp = $3::long::timestamp AND revision < $4 AND (buy > 0 OR sell > 0);
