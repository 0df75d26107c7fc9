-- From now on it is refreshed with every commit.
ALTER MATERIALIZED VIEW {view} SET REFRESH IMMEDIATE;
