-- One row per execution. Quantity in base units, value in quote units; is_buyer_maker = true: the aggressor sold.
CREATE TABLE IF NOT EXISTS trades (
    symbol SYMBOL,
    price DOUBLE,
    quantity DOUBLE,
    timestamp TIMESTAMP,
    is_buyer_maker BOOLEAN,
    exchange SYMBOL,
    trade_id VARCHAR,
    value DOUBLE,
    received TIMESTAMP,
    fills LONG
) TIMESTAMP(timestamp)
PARTITION BY DAY
TTL 15 DAYS
WAL
DEDUP UPSERT KEYS(timestamp, trade_id, exchange, symbol);
