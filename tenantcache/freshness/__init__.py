"""A change-log entry's way: from the database to every process."""
