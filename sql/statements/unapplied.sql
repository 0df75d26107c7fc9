-- Whether a table has taken rows in that queries do not see yet.
SELECT count() FROM wal_tables() WHERE name = $1 AND (suspended OR writerTxn < sequencerTxn);
