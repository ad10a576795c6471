"""What operations sees: metrics, traces, alerts and log records."""
