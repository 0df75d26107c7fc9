-- From now on it is refreshed when it is asked to be.
ALTER MATERIALIZED VIEW {view} SET REFRESH MANUAL;
