-- What an audit rests on: percent of the worst detector (NULL: unknown), the verdict, which detectors spoke, and what
-- the exchange's own candles say beside what the table has in the same slots.
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS percent DOUBLE;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS verdict SYMBOL;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS evidence SYMBOL;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS candles LONG;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS candle_trades LONG;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS fills LONG;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS candle_volume DOUBLE;
ALTER TABLE completeness ADD COLUMN IF NOT EXISTS volume DOUBLE;
