-- How many holes of each state a symbol has, and the ids that are missing in them.
SELECT exchange, symbol, channel, status, count(), sum(coalesce(expected, 0) - coalesce(filled, 0))
FROM gaps GROUP BY exchange, symbol, channel, status ORDER BY exchange, symbol, channel, status;
