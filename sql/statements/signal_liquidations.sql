-- Forced orders since $1 µs, of every symbol; the newest 200,000.
SELECT exchange, symbol, timestamp::long, received::long, liquidation_id, side, price, quantity, value, coverage
FROM liquidations WHERE timestamp >= $1::long::timestamp
ORDER BY timestamp DESC LIMIT 200000;
