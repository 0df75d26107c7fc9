-- The slots of {table} that were filled last.
SELECT exchange, symbol, timestamp::long FROM {table} ORDER BY timestamp DESC LIMIT 20000;
