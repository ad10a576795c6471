"""What one answer knows of itself: the tenant, its limits, and the worker that answered.

The page and `/api/whoami` show the same object. Nothing in here waits, or spends a token.
"""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from starlette.requests import Request

from tenantcache import Tenant, TenantCache

Tier = Literal["memory", "redis", "postgres"]


class Limits(TypedDict):
    """Requests a window; None is unlimited."""

    per_minute: int | None
    per_day: int | None


class Quota(TypedDict):
    """What is left of one limit as this worker knows it; `reset` is in seconds from now."""

    limit: int
    remaining: int
    reset: float


class Quotas(TypedDict):
    """None: unlimited."""

    minute: Quota | None
    day: Quota | None


class Worker(TypedDict):
    """Counts since this process started: requests that were admitted, and billed Redis commands.

    `applied` is the newest entry of the change log that this process knows. `valid_for` is the seconds for which cached
    tenants may be served without another pull from Postgres.
    """

    requests: int
    redis_commands: int
    valid_for: float
    applied: int
    processes: int


class Answer(TypedDict):
    """`tier` is the store in which this request found its tenant, `pid` the worker that served it."""

    id: str
    name: str
    plan: str | None
    status: str
    subdomain: str | None
    domains: list[str]
    limits: Limits
    quotas: Quotas
    tier: Tier
    pid: int
    worker: Worker


def compose_answer(request: Request, cache: TenantCache, tenant: Tenant) -> Answer:
    """Collect all that is known of this answer; no I/O."""
    return {
        "id": tenant.id,
        "name": tenant.name,
        "plan": tenant.plan,
        "status": tenant.status,
        "subdomain": tenant.subdomain,
        "domains": list(tenant.domains),
        "limits": {"per_minute": tenant.limits.per_minute, "per_day": tenant.limits.per_day},
        "quotas": _quotas(cache, tenant),
        "tier": getattr(request.state, "tenant_tier", "memory"),  # the middleware names the store if it had to fetch
        "pid": os.getpid(),
        "worker": _worker(request, cache),
    }


def _quotas(cache: TenantCache, tenant: Tenant) -> Quotas:
    found: Quotas = {"minute": None, "day": None}
    for quota in cache.quotas(tenant):
        key: Literal["minute", "day"] = "day" if quota.name == "day" else "minute"
        found[key] = {"limit": quota.limit, "remaining": quota.remaining, "reset": round(quota.reset, 1)}
    return found


def _worker(request: Request, cache: TenantCache) -> Worker:
    stats = cache.stats()
    return {
        "requests": request.app.state.requests,
        "redis_commands": stats["redis"]["billed_commands"],
        "valid_for": round(stats["freshness"]["valid_for"], 2),
        "applied": stats["freshness"]["applied"],
        "processes": stats["freshness"]["processes"],
    }
