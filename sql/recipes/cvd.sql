-- Cumulative volume delta from trades: bought minus sold volume of each minute, and its sum since @from.
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now()
SELECT
    timestamp,
    delta,
    sum(delta) OVER (ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS cvd
FROM (
    SELECT timestamp, sum(CASE WHEN is_buyer_maker THEN -quantity ELSE quantity END) AS delta
    FROM trades
    WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
    SAMPLE BY 1m
    ORDER BY timestamp
)
ORDER BY timestamp;
