"""What type checkers are told of the public names: `make check` reads this, and nothing runs it.

A line with `type: ignore` is a mistake that has to be found: mypy says so if it is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Literal, assert_type

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Scope

from tenantcache import (
    Budget,
    Challenge,
    Change,
    Decision,
    Limits,
    Quota,
    Reply,
    Settings,
    Tenant,
    TenantCache,
    TenantMiddleware,
    UsageDay,
    Verification,
    current_tenant,
)
from tenantcache.fastapi import CurrentTenant, require_plan
from tenantcache.limits import cost, costs, limit, limited
from tenantcache.stats import Stats
from tenantcache.testing import FakeClock, MemoryCache
from tenantcache.web.problems import Problem
from tenantcache.web.strategies import Header, Host, PathPrefix


def settings() -> None:
    found = Settings(
        database_url="postgresql://localhost/app",
        redis_url=None,
        base_domains=["example.com"],
        plans={"pro": {"per_minute": 6_000, "per_day": None}},
        limits="shadow",
        max_staleness=3,
        trusted_proxies="10.0.0.0/8",
    )
    assert_type(found.base_domains, tuple[str, ...])
    assert_type(found.limit_per_minute, int)
    assert_type(found.redis_url, str | None)
    assert_type(found.limits, Literal["enforce", "shadow", "off"])
    assert_type(found.plans, Mapping[str, Mapping[str, int | None]])
    Settings({"DATABASE_URL": "postgresql://localhost/app"})
    Settings(limit_per_minute="600")  # type: ignore[arg-type]
    Settings(limits="maybe")  # type: ignore[arg-type]
    Settings(limit_per_minut=600)  # type: ignore[call-arg]
    MemoryCache(FakeClock(), limit_per_minute=5)
    MemoryCache(limit_per_minute="5")  # type: ignore[arg-type]


async def engine(cache: TenantCache) -> None:
    async with TenantCache(Settings()) as opened:
        assert_type(opened, TenantCache)
    tenant = await cache.resolve("acme.example.com")
    assert_type(tenant, Tenant | None)
    assert_type(await cache.resolve_name("acme", kind="team"), Tenant | None)
    assert_type(await cache.get_many(["1"]), dict[str, Tenant])
    assert tenant is not None
    assert_type(tenant.limits, Limits)
    assert_type(tenant.status, Literal["active", "suspended", "maintenance", "deleted"])
    decision = await cache.check(tenant, cost=2)
    assert_type(decision, Decision)
    assert_type(decision.retry_after, float | None)
    assert_type(await cache.check_named(tenant, "exports", Limits(5)), Decision)
    assert_type(cache.quotas(tenant), tuple[Quota, ...])
    assert_type(await cache.peek(tenant), tuple[Quota, ...])
    assert_type(decision.at, float | None)
    assert_type(cache.refund(tenant, admitted_at=decision.at), int)
    cache.refund(tenant, admitted_at="now")  # type: ignore[arg-type]
    assert_type(cache.is_open, bool)
    assert_type(cache.settings, Settings)
    await cache.check("acme")  # type: ignore[arg-type]


def callbacks(cache: TenantCache, heard: Callable[[Change], None]) -> None:
    @cache.on_change
    async def hear(change: Change) -> None:
        assert_type(change.everything, bool)
        assert_type(change.tenant_id, str | None)
        assert_type(change.values, tuple[tuple[str | None, str], ...])

    assert_type(cache.on_change(heard), Callable[[Change], None])
    cache.on_change(print)
    cache.on_change(len)  # type: ignore[type-var]


async def administration(cache: TenantCache) -> None:
    assert_type(await cache.tenants.create("Acme", subdomain="acme", limit_per_day=None), Tenant)
    await cache.tenants.update("1", plan=5)  # type: ignore[arg-type]
    assert_type(await cache.domains.add("1", "shop.acme.io"), Challenge)
    verified = await cache.domains.verify("shop.acme.io")
    assert_type(verified, Verification)
    assert_type(verified.outcome, Literal["verified", "failed", "unreachable"])
    assert_type(await cache.usage.read("1"), list[UsageDay])
    assert_type(await cache.usage.last_seen(["1"]), dict[str, datetime])


def statistics(cache: TenantCache) -> None:
    assert_type(cache.budget, Budget)
    assert_type(cache.budget.used, int)
    assert_type(cache.budget.forecast.exhausted_at, float | None)
    stats = cache.stats()
    assert_type(stats, Stats)
    assert_type(stats["limits"]["denied"], int)
    assert_type(stats["freshness"]["valid_for"], float)
    assert_type(stats["freshness"]["fault"], str | None)
    if (counters := stats["limits"]["counters"]) is not None:
        assert_type(counters["store"], Literal["redis", "postgres"] | None)
    stats["limits"]["refused"]  # type: ignore[typeddict-item]


def requests() -> None:
    assert_type(current_tenant(), Tenant | None)
    app = FastAPI()

    @app.get(
        "/", dependencies=[Depends(cost(2)), Depends(limit("exports", per_minute=5)), Depends(require_plan("pro"))]
    )
    async def home(tenant: CurrentTenant) -> str:
        assert_type(tenant, Tenant)
        return tenant.name

    @limited("exports", per_minute=5)
    @costs(2)
    async def export(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    def reply(scope: Scope, problem: Problem) -> ASGIApp | None:
        assert_type(problem.retry_after, int | None)
        return None

    answers: Reply = reply
    app.add_middleware(TenantMiddleware, reply=answers)
    app.add_middleware(TenantMiddleware, cache=5)  # type: ignore[arg-type]
    TenantMiddleware(app, strategies=[Host(), PathPrefix("/t", "slug"), Header("x-tenant", "id"), "host"])
    del home, export
    assert_type(limit("exports", per_minute=5), Callable[[HTTPConnection, Response], Awaitable[None]])
    assert_type(cost(2), Callable[[HTTPConnection, Response], Awaitable[None]])
