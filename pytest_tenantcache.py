"""The pytest plugin of tenantcache. Nothing else is imported until a test asks for a fixture; see docs/testing.md.

It is a module outside the package, because importing any part of a package imports all that its root imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tenantcache.testing import Acting, FakeClock, MemoryCache, TenantTable
    from tenantcache.testing.redisbudget import RedisBudget


@pytest.fixture
def tenant_settings() -> dict[str, Any]:
    """Settings of the engine in memory, as arguments of `tenantcache.Settings`; override it with your own."""
    return {}


@pytest.fixture
def tenant_clock() -> FakeClock:
    """The engine's clock: it stands still until `tenant_clock.advance(seconds)`. Override it for another date."""
    from tenantcache.testing import FakeClock

    return FakeClock()


@pytest.fixture
def tenant_cache(tenant_clock: FakeClock, tenant_settings: dict[str, Any]) -> Iterator[MemoryCache]:
    """A TenantCache without servers. While the test runs, every TenantMiddleware uses it instead of its own."""
    from tenantcache.testing import MemoryCache, standing_in

    cache = MemoryCache(tenant_clock, **tenant_settings)
    with standing_in(cache):
        yield cache


@pytest.fixture
def tenants(tenant_cache: MemoryCache) -> TenantTable:
    """The engine's tenants: `tenants.add("acme", plan="pro")`, `update`, `suspend`, `resume`, `delete`."""
    from tenantcache.testing import TenantTable

    return TenantTable(tenant_cache)


@pytest.fixture
def as_tenant(tenant_cache: MemoryCache) -> Callable[..., AbstractContextManager[Acting]]:
    """`with as_tenant("acme", client, plan="pro"):` makes requests of `client`, and `current_tenant()`, that tenant's.

    The tenant is added if its id is unknown; columns that are given are set. The client may be left out.
    """
    from tenantcache.testing import TenantTable, acting_as

    table = TenantTable(tenant_cache)

    def act(tenant_id: str, client: Any = None, **columns: Any) -> AbstractContextManager[Acting]:
        tenant = table.get(tenant_id)
        if tenant is None:
            tenant = table.add(tenant_id, **columns)
        elif columns:
            tenant = table.update(tenant_id, **columns)
        return acting_as(tenant, next(iter(tenant_cache.settings.base_domains), ""), client)

    return act


@pytest.fixture
def redis_budget() -> Iterator[Callable[..., RedisBudget]]:
    """`with redis_budget(2): client.get("/")` fails the test if redis-py sends more than 2 billed commands meanwhile.

    With `redis_url=`, it is that server's own count: of all its clients, and of what scripts call. See docs/record.md.
    """
    from tenantcache.testing.redisbudget import RedisBudget, hear_redis

    listeners: list[RedisBudget] = []

    def budget(most: int, *, redis_url: str | None = None) -> RedisBudget:
        return RedisBudget(most, listeners, redis_url)

    with pytest.MonkeyPatch.context() as patch:
        hear_redis(patch.setattr, listeners)
        yield budget
