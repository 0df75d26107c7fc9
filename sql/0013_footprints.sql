-- The rows of our closed 1m candles. level: lower edge in ticks; buy/sell: volumes; buys/sells: number of trades.
-- A level that a later revision of its candle no longer has is kept with zeros (docs/tables.md).
CREATE TABLE IF NOT EXISTS footprints (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    level LONG,
    price DOUBLE,
    "row" DOUBLE,
    buy DOUBLE,
    sell DOUBLE,
    buys LONG,
    sells LONG,
    revision LONG
) TIMESTAMP(timestamp)
PARTITION BY DAY
TTL 90 DAYS
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol, level);
