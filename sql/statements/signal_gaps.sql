-- The newest gaps in trades, in their latest state.
SELECT exchange, symbol, timestamp::long, from_id, to_timestamp::long, status, revision, updated::long
FROM gaps WHERE channel = 'trades' ORDER BY timestamp DESC LIMIT 50000;
