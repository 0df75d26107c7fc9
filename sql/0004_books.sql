-- Top of the book, best first: bids[1] and asks[1] are prices, bids[2] and asks[2] quantities.
CREATE TABLE IF NOT EXISTS books (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    received TIMESTAMP,
    sequence LONG,
    bids DOUBLE[][],
    asks DOUBLE[][]
) TIMESTAMP(timestamp)
PARTITION BY DAY
TTL 7 DAYS
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol);
