-- Rows of open_interest by receipt in [$1, $2) µs, of those received before $3.
SELECT received::long, exchange, symbol, timestamp::long, received::long, open_interest, value
FROM open_interest
WHERE received >= $1::long::timestamp AND received < $2::long::timestamp AND received < $3::long::timestamp
ORDER BY received;
