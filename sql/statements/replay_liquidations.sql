-- Rows of liquidations by receipt in [$1, $2) µs, of those received before $3.
SELECT received::long, exchange, symbol, timestamp::long, received::long, liquidation_id, side, price, quantity, value, coverage
FROM liquidations
WHERE received >= $1::long::timestamp AND received < $2::long::timestamp AND received < $3::long::timestamp
ORDER BY received;
