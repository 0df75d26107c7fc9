-- How many transactions table $1 has taken in.
SELECT sequencerTxn FROM wal_tables() WHERE name = $1;
