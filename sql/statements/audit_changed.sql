-- The oldest gap in trades whose state changed at $1 µs or later.
SELECT min(timestamp)::long FROM gaps WHERE channel = 'trades' AND updated >= $1::long::timestamp;
