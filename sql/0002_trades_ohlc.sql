-- Candles of every trade, kept current by QuestDB.
CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_10s
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 10s
) PARTITION BY HOUR TTL 6h;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_1m
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 1m
) PARTITION BY DAY TTL 7d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_5m
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 5m
) PARTITION BY DAY TTL 7d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_15m
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 15m
) PARTITION BY DAY TTL 7d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_30m
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 30m
) PARTITION BY DAY TTL 14d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_1h
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 1h
) PARTITION BY DAY TTL 30d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_4h
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 4h
) PARTITION BY DAY TTL 60d;

CREATE MATERIALIZED VIEW IF NOT EXISTS trades_OHLC_1d
WITH BASE trades REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        sum(value) AS value
    FROM trades
    SAMPLE BY 1d
) PARTITION BY WEEK TTL 5w;
