"""Tenant lookup and rate limits for multi-tenant ASGI apps, in the process.

    app.add_middleware(TenantMiddleware)

finds the tenant of every request and checks its limits; the README tells the rest.
"""

from tenantcache.engine import TenantCache
from tenantcache.errors import (
    ConfigurationError,
    NotOpenError,
    SchemaMissingError,
    StoreUnavailableError,
    TenantCacheError,
)
from tenantcache.ratelimit.core.decision import Decision, Quota
from tenantcache.settings.model import Settings
from tenantcache.tenant import Limits, Tenant
from tenantcache.web.context import current_tenant
from tenantcache.web.middleware import TenantMiddleware

__all__ = [
    "ConfigurationError",
    "Decision",
    "Limits",
    "NotOpenError",
    "Quota",
    "SchemaMissingError",
    "Settings",
    "StoreUnavailableError",
    "Tenant",
    "TenantCache",
    "TenantCacheError",
    "TenantMiddleware",
    "current_tenant",
]
