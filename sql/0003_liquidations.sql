-- Forced orders. side = the position that was closed; coverage 'sampled': sums are a lower bound.
CREATE TABLE IF NOT EXISTS liquidations (
    symbol SYMBOL,
    price DOUBLE,
    quantity DOUBLE,
    timestamp TIMESTAMP,
    side SYMBOL,
    exchange SYMBOL,
    liquidation_id VARCHAR,
    value DOUBLE,
    coverage SYMBOL,
    received TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY DAY
WAL
DEDUP UPSERT KEYS(timestamp, liquidation_id, exchange, symbol);
