"""Tenant lookup and rate limits for multi-tenant ASGI apps, in the process.

    app.add_middleware(TenantMiddleware)

finds the tenant of every request and checks its limits; the README tells the rest. docs/api.md lists what is public.
"""

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
    "current_tenant",
]
