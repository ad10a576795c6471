"""What an application caches beside its tenants: settings, sessions, results of queries."""
