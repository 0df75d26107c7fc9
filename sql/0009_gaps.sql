-- Holes, each with its present state; timestamp = from_timestamp for the gap's whole life.
CREATE TABLE IF NOT EXISTS gaps (
    symbol SYMBOL,
    exchange SYMBOL,
    channel SYMBOL,
    timestamp TIMESTAMP,
    from_id VARCHAR,
    to_id VARCHAR,
    from_timestamp TIMESTAMP,
    to_timestamp TIMESTAMP,
    cause VARCHAR,
    status SYMBOL,
    expected LONG,
    filled LONG,
    evidence VARCHAR,
    updated TIMESTAMP,
    revision LONG,
    received TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol, channel, from_id);
