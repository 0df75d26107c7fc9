-- The long views that are healthy: whether each refreshes with every commit, whether its table has rows it does not know
-- of, how long its last refresh took and how long ago that was, µs (less than 0: it is being refreshed now).
SELECT view_name, refresh_type = 'immediate', base_table_txn > refresh_base_table_txn,
    last_refresh_finish_timestamp::long - last_refresh_start_timestamp::long,
    now()::long - last_refresh_finish_timestamp::long
FROM materialized_views()
WHERE view_status = 'valid' AND view_name IN ('trades_OHLC_1h', 'trades_OHLC_4h', 'trades_OHLC_1d');
