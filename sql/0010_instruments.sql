-- Every version of every instrument; timestamp = valid_from, or when it was published where it names none.
CREATE TABLE IF NOT EXISTS instruments (
    symbol SYMBOL,
    exchange SYMBOL,
    timestamp TIMESTAMP,
    exchange_symbol VARCHAR,
    base SYMBOL,
    quote SYMBOL,
    settle SYMBOL,
    kind SYMBOL,
    inverse BOOLEAN,
    contract_size DOUBLE,
    tick_size DOUBLE,
    quantity_step DOUBLE,
    "row" DOUBLE,
    status SYMBOL,
    valid_from TIMESTAMP
) TIMESTAMP(timestamp)
PARTITION BY WEEK
WAL
DEDUP UPSERT KEYS(timestamp, exchange, symbol);
