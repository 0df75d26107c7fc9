-- How long QuestDB keeps {table}: whole partitions; 0 keeps everything.
ALTER TABLE {table} SET TTL {hours} HOURS;
