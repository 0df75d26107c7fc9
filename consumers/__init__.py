"""From the log to QuestDB: one declaration per table, one loop for all of them."""
