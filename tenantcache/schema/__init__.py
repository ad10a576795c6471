"""The tables that tenantcache owns, and how they get into a database."""
