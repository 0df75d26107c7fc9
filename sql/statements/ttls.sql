-- How long each table keeps its rows, in the unit QuestDB stores it in, and the size of its partitions.
SELECT table_name, partitionBy, ttlValue, ttlUnit FROM tables() WHERE NOT matView;
