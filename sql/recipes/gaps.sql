-- Holes that are not closed: what is missing, since when, and why.
DECLARE
    @exchange := 'binance',
    @symbol := 'BTC-USDT',
    @from := dateadd('h', -1, now()),
    @to := now()
SELECT channel, from_timestamp, to_timestamp, from_id, to_id, cause, status, expected - filled AS missing
FROM gaps
WHERE exchange = @exchange AND symbol = @symbol AND timestamp >= @from AND timestamp < @to
    AND status IN ('open', 'partial', 'unfillable')
ORDER BY timestamp;
