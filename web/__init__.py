"""What people look at: the page, and the server behind it."""
