-- Rows of gaps by receipt in [$1, $2) µs, of those received before $3.
SELECT received::long, exchange, symbol, timestamp::long, received::long, channel, from_id, to_id,
    from_timestamp::long, to_timestamp::long, cause, status, expected, filled, evidence, updated::long, revision
FROM gaps
WHERE received >= $1::long::timestamp AND received < $2::long::timestamp AND received < $3::long::timestamp
ORDER BY received;
