-- Rows of funding by receipt in [$1, $2) µs, of those received before $3.
SELECT received::long, exchange, symbol, timestamp::long, received::long, funding_rate, interval_hours,
    next_funding::long, mark_price, index_price
FROM funding
WHERE received >= $1::long::timestamp AND received < $2::long::timestamp AND received < $3::long::timestamp
ORDER BY received;
