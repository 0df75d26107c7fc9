-- The newest row of {table}, in µs; QuestDB measures a TTL from it.
SELECT max(timestamp)::long AS latest FROM {table};
