-- The newest gaps that changed since they were opened: identity, then version.
SELECT exchange, symbol, channel, timestamp::long, from_id, revision, updated::long
FROM gaps WHERE revision > 0 ORDER BY timestamp DESC LIMIT 50000;
