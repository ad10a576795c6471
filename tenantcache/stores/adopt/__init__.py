"""Serving a table that was there before tenantcache: `prepare` an `Adoption`, then `install` it."""

from tenantcache.stores.adopt.adoption import Adoption, AdoptionError, Prepared, parse_status_map, prepare
from tenantcache.stores.adopt.uninstall import Uninstall, plan_uninstall

__all__ = ["Adoption", "AdoptionError", "Prepared", "Uninstall", "parse_status_map", "plan_uninstall", "prepare"]
