-- The interval a candle was made of, where the exchange has none of its length.
ALTER TABLE klines ADD COLUMN IF NOT EXISTS aggregated_from SYMBOL;
