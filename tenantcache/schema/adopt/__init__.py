"""Serving tenants from tables that were there before tenantcache: `prepare` an `Adoption`, then `install` its plan."""

from tenantcache.schema.adopt.adoption import FINISH, Adoption, Plan, install, prepare, remove_kind, script
from tenantcache.schema.adopt.catalog import AdoptionError
from tenantcache.schema.adopt.shorthand import TableOptions, WrittenQuery, parse_status_map, write_query
from tenantcache.schema.adopt.uninstall import Uninstall, plan_uninstall
from tenantcache.schema.adopt.warnings import find_warnings

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
