-- What an audit found for the hour (or other slot) that begins at timestamp: how many ids there should be,
-- how many there are, and why the others are not.
CREATE TABLE IF NOT EXISTS completeness (
    symbol SYMBOL,
    exchange SYMBOL,
    channel SYMBOL,
    timestamp TIMESTAMP,
    slot LONG,
    expected LONG,
    present LONG,
    missing LONG,
    nonexistent LONG,
    unfillable LONG,
    updated TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol, channel);
