-- Rows of a table: from metadata, so it costs nothing.
SELECT count() FROM {table}
