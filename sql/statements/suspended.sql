-- Tables that take rows in but show none of them.
SELECT name, errorTag AS tag, errorMessage AS message FROM wal_tables() WHERE suspended;
