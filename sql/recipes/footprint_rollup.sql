-- Footprint of a longer interval from the stored minutes, on rows of @ticks ticks. A level that a later revision of
-- its candle gave up holds zeros, so a sum over levels counts nothing twice.
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now(),
    @ticks := 10
SELECT
    timestamp_floor('1h', timestamp) AS timestamp,
    floor(level * 1.0 / @ticks)::long * @ticks AS level,
    sum(buy) AS buy,
    sum(sell) AS sell
FROM footprints
WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
ORDER BY timestamp, level;
