-- The newest candles that were corrected: identity, then version.
SELECT exchange, symbol, interval, timestamp::long, revision, received::long
FROM klines WHERE revision > 0 ORDER BY timestamp DESC LIMIT 50000;
