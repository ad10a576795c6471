"""Tenant lookup and rate limits for multi-tenant ASGI apps, in the process.

    app.add_middleware(TenantMiddleware)

finds the tenant of every request and checks its limits; the README tells the rest. docs/api.md lists what is public.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenantcache.admin.dns import DnspythonResolver, TxtResolver
    from tenantcache.admin.domains import Challenge, Verification
    from tenantcache.admin.tenants import TenantPage
    from tenantcache.admin.usagestore import UsageDay, UsageTotal
    from tenantcache.budget.core.budget import Budget
    from tenantcache.engine import TenantCache
    from tenantcache.errors import (
        AdoptedTableError,
        ConfigurationError,
        DnsUnreachableError,
        InvalidDomainError,
        InvalidTenantError,
        NameTakenError,
        NotOpenError,
        SchemaMissingError,
        StoreUnavailableError,
        TenantCacheError,
        UnknownDomainError,
        UnknownTenantError,
    )
    from tenantcache.freshness.core.change import Change
    from tenantcache.lookup.current import current_tenant
    from tenantcache.ratelimit.core.decision import Decision, Quota
    from tenantcache.settings.model import Settings
    from tenantcache.tenant import Limits, Tenant
    from tenantcache.values.cached import Cached
    from tenantcache.values.core.kind import ValueKind
    from tenantcache.values.core.writebehind import FailedWrites, WriteBatch, WriteBehind
    from tenantcache.values.values import Values
    from tenantcache.web.middleware import TenantMiddleware
    from tenantcache.web.problems import Reply

__all__ = [
    "AdoptedTableError",
    "Budget",
    "Cached",
    "Challenge",
    "Change",
    "ConfigurationError",
    "Decision",
    "DnsUnreachableError",
    "DnspythonResolver",
    "FailedWrites",
    "InvalidDomainError",
    "InvalidTenantError",
    "Limits",
    "NameTakenError",
    "NotOpenError",
    "Quota",
    "Reply",
    "SchemaMissingError",
    "Settings",
    "StoreUnavailableError",
    "Tenant",
    "TenantCache",
    "TenantCacheError",
    "TenantMiddleware",
    "TenantPage",
    "TxtResolver",
    "UnknownDomainError",
    "UnknownTenantError",
    "UsageDay",
    "UsageTotal",
    "ValueKind",
    "Values",
    "Verification",
    "WriteBatch",
    "WriteBehind",
    "current_tenant",
]

_HOMES = {
    "AdoptedTableError": "tenantcache.errors",
    "Budget": "tenantcache.budget.core.budget",
    "Cached": "tenantcache.values.cached",
    "Challenge": "tenantcache.admin.domains",
    "Change": "tenantcache.freshness.core.change",
    "ConfigurationError": "tenantcache.errors",
    "Decision": "tenantcache.ratelimit.core.decision",
    "DnsUnreachableError": "tenantcache.errors",
    "DnspythonResolver": "tenantcache.admin.dns",
    "FailedWrites": "tenantcache.values.core.writebehind",
    "InvalidDomainError": "tenantcache.errors",
    "InvalidTenantError": "tenantcache.errors",
    "Limits": "tenantcache.tenant",
    "NameTakenError": "tenantcache.errors",
    "NotOpenError": "tenantcache.errors",
    "Quota": "tenantcache.ratelimit.core.decision",
    "Reply": "tenantcache.web.problems",
    "SchemaMissingError": "tenantcache.errors",
    "Settings": "tenantcache.settings.model",
    "StoreUnavailableError": "tenantcache.errors",
    "Tenant": "tenantcache.tenant",
    "TenantCache": "tenantcache.engine",
    "TenantCacheError": "tenantcache.errors",
    "TenantMiddleware": "tenantcache.web.middleware",
    "TenantPage": "tenantcache.admin.tenants",
    "TxtResolver": "tenantcache.admin.dns",
    "UnknownDomainError": "tenantcache.errors",
    "UnknownTenantError": "tenantcache.errors",
    "UsageDay": "tenantcache.admin.usagestore",
    "UsageTotal": "tenantcache.admin.usagestore",
    "ValueKind": "tenantcache.values.core.kind",
    "Values": "tenantcache.values.values",
    "Verification": "tenantcache.admin.domains",
    "WriteBatch": "tenantcache.values.core.writebehind",
    "WriteBehind": "tenantcache.values.core.writebehind",
    "current_tenant": "tenantcache.lookup.current",
}
"""The module of each name, which is imported when it is first asked for: a command needs few of them (PEP 562)."""


if not TYPE_CHECKING:  # with it, a type checker would take any name for one of the module's

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
