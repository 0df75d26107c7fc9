-- When each symbol traded last, in µs, as far as the table knows.
SELECT exchange, symbol, timestamp::long FROM trades LATEST ON timestamp PARTITION BY exchange, symbol;
