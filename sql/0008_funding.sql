-- The rate of the period that ends at next_funding, and the marks it came with.
CREATE TABLE IF NOT EXISTS funding (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    funding_rate DOUBLE,
    interval_hours DOUBLE,
    next_funding TIMESTAMP,
    mark_price DOUBLE,
    index_price DOUBLE,
    received TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol);
