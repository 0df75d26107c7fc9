-- Volume profile from trades: volume bought, sold and in all in each price row of the whole span.
-- @row is the row size in quote units. The row with the most volume is the point of control.
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now(),
    @row := 10.0
SELECT
    floor(price / @row + 0.000001) * @row AS price,
    sum(CASE WHEN is_buyer_maker THEN 0.0 ELSE quantity END) AS buy,
    sum(CASE WHEN is_buyer_maker THEN quantity ELSE 0.0 END) AS sell,
    sum(quantity) AS volume
FROM trades
WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
ORDER BY price;
