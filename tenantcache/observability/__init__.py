"""What operations sees: log records."""
