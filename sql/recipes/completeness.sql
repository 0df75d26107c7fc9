-- Completeness from the ids of trades, for exchanges that number them without holes: how many ids each hour should
-- have since the last id of the hour before, and how many are missing.
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now()
SELECT timestamp, expected, present, expected - present AS missing
FROM (
    SELECT timestamp, present, last_id - coalesce(lag(last_id) OVER (ORDER BY timestamp), first_id - 1) AS expected
    FROM (
        SELECT timestamp, count() AS present, min(trade_id::long) AS first_id, max(trade_id::long) AS last_id
        FROM trades
        WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
        SAMPLE BY 1h
        ORDER BY timestamp
    )
)
ORDER BY timestamp;
