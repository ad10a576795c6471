"""A host's way to its tenant: memory, Redis, Postgres."""
