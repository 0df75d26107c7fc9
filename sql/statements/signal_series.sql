-- Each symbol that has closed 1m candles before $1 µs: first and last open time.
SELECT exchange, symbol, min(timestamp)::long, max(timestamp)::long FROM candles
WHERE timestamp < $1::long::timestamp;
