-- Closed candles as the exchange made them; timestamp = open time.
CREATE TABLE IF NOT EXISTS klines (
    symbol SYMBOL,
    exchange SYMBOL,
    interval SYMBOL,
    timestamp TIMESTAMP,
    open DOUBLE,
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    volume DOUBLE,
    value DOUBLE,
    trades LONG,
    source SYMBOL,
    revision LONG,
    received TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol, interval);
