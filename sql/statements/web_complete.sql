-- Ids there should be and ids that are missing, by exchange and channel, in slots that began at or after $1 µs.
SELECT exchange, channel, sum(expected), sum(coalesce(missing, 0) + coalesce(unfillable, 0))
FROM completeness WHERE timestamp >= $1::long::timestamp GROUP BY exchange, channel;
