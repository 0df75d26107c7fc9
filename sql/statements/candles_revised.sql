-- Our newest candles that late trades changed: identity, then version.
SELECT exchange, symbol, timestamp::long, revision, 0
FROM candles WHERE revision > 0 ORDER BY timestamp DESC LIMIT 50000;
