-- The newest holes, each in its last state.
SELECT exchange, symbol, channel, timestamp::long, from_id, to_id, from_timestamp::long, to_timestamp::long, cause,
    status, expected, filled, evidence, updated::long, revision
FROM gaps ORDER BY timestamp DESC LIMIT 1000;
