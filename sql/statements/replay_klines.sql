-- Rows of klines by receipt in [$1, $2) µs, of those received before $3.
SELECT received::long, exchange, symbol, timestamp::long, received::long, interval, open, high, low, close, volume, value,
    trades, source, revision
FROM klines
WHERE received >= $1::long::timestamp AND received < $2::long::timestamp AND received < $3::long::timestamp
ORDER BY received;
