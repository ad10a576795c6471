"""Where tenants, copies and counters are kept: Postgres, Redis, memory."""
