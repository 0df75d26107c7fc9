-- Footprint from trades: volume bought and sold in each price row of each minute.
-- @row is the row size in quote units; a price belongs to the row whose lower edge it reaches (the small term undoes
-- that 100.3 / 0.1 is 1002.9999999999999).
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now(),
    @row := 10.0
SELECT
    timestamp_floor('1m', timestamp) AS timestamp,
    floor(price / @row + 0.000001) * @row AS price,
    sum(CASE WHEN is_buyer_maker THEN 0.0 ELSE quantity END) AS buy,
    sum(CASE WHEN is_buyer_maker THEN quantity ELSE 0.0 END) AS sell,
    count() AS trades
FROM trades
WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
ORDER BY timestamp, price;
