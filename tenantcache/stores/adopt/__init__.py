"""Serving tenants from tables that were there before tenantcache: `prepare` an `Adoption`, then `install` its plan."""

from tenantcache.stores.adopt.adoption import FINISH, Adoption, Plan, install, prepare, remove_kind, script
from tenantcache.stores.adopt.catalog import AdoptionError
from tenantcache.stores.adopt.shorthand import TableOptions, WrittenQuery, parse_status_map, write_query
from tenantcache.stores.adopt.uninstall import Uninstall, plan_uninstall
from tenantcache.stores.adopt.warnings import find_warnings

__all__ = [
    "FINISH",
    "Adoption",
    "AdoptionError",
    "Plan",
    "TableOptions",
    "Uninstall",
    "WrittenQuery",
    "find_warnings",
    "install",
    "parse_status_map",
    "plan_uninstall",
    "prepare",
    "remove_kind",
    "script",
    "write_query",
]
