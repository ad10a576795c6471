"""A small website on tenantcache: a page for each tenant. See README.md beside this file."""
