"""From an exchange's sockets and REST to the log. ``_underscore`` files are machinery, bare names exchanges."""
