-- Candles of open interest, kept current by QuestDB.
CREATE MATERIALIZED VIEW IF NOT EXISTS open_interest_OHLC_5m
WITH BASE open_interest REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(open_interest) AS open,
        max(open_interest) AS high,
        min(open_interest) AS low,
        last(open_interest) AS close,
        last(value) AS value
    FROM open_interest
    SAMPLE BY 5m
) PARTITION BY DAY TTL 7d;

CREATE MATERIALIZED VIEW IF NOT EXISTS open_interest_OHLC_1h
WITH BASE open_interest REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(open_interest) AS open,
        max(open_interest) AS high,
        min(open_interest) AS low,
        last(open_interest) AS close,
        last(value) AS value
    FROM open_interest
    SAMPLE BY 1h
) PARTITION BY DAY TTL 30d;

CREATE MATERIALIZED VIEW IF NOT EXISTS open_interest_OHLC_1d
WITH BASE open_interest REFRESH INCREMENTAL
AS (
    SELECT
        timestamp,
        symbol,
        exchange,
        first(open_interest) AS open,
        max(open_interest) AS high,
        min(open_interest) AS low,
        last(open_interest) AS close,
        last(value) AS value
    FROM open_interest
    SAMPLE BY 1d
) PARTITION BY WEEK TTL 5w;
