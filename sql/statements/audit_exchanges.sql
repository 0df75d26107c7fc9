-- Exchanges that told {interval} candles in [$1, $2) µs.
SELECT DISTINCT exchange FROM klines
WHERE interval = '{interval}' AND timestamp >= $1::long::timestamp AND timestamp < $2::long::timestamp;
