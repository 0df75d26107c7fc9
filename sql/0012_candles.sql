-- Our own closed 1m candles. buy/sell: volumes; buys/sells: number of trades; sequence, as_of: the last event in it.
CREATE TABLE IF NOT EXISTS candles (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    open DOUBLE,
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    buy DOUBLE,
    sell DOUBLE,
    buy_value DOUBLE,
    sell_value DOUBLE,
    buys LONG,
    sells LONG,
    min_delta DOUBLE,
    max_delta DOUBLE,
    trades LONG,
    revision LONG,
    complete BOOLEAN,
    sequence LONG,
    as_of TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY DAY
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol);
