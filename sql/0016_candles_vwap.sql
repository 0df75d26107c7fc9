-- Volume-weighted average price of each minute, and the weighted variance of price about it.
ALTER TABLE candles ADD COLUMN IF NOT EXISTS vwap DOUBLE;
ALTER TABLE candles ADD COLUMN IF NOT EXISTS variance DOUBLE;
