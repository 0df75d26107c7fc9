"""What people and programs look at: the page's server, the API, charts of others, metrics."""
