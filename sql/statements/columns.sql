-- The columns of {table}.
SELECT "column" FROM table_columns('{table}');
