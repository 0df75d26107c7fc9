-- Open contracts in base units, one side; timestamp floored to the poll slot.
CREATE TABLE IF NOT EXISTS open_interest (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    open_interest DOUBLE,
    value DOUBLE,
    received TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol);
