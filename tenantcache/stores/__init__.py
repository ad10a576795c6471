"""The adapters that keep tenants, copies and counters: Postgres and Redis."""
