"""What hot requests share: a lease, and what it says in headers, on each of a tenant's hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import TenantCache, TenantMiddleware
from tests.asgi import Answer, get
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

ACME, SHOP = b"acme.example.com", b"shop.acme.io"


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def cache() -> AsyncIterator[TenantCache]:
    clock = FakeClock()
    database = FakeDatabase(clock, row("acme", domains=["shop.acme.io"], limit_per_minute=100, limit_per_day=0))
    async with make_cache(database, clock, counters=FakeCounters(), unlimited_paths=["/free"]) as cache:
        yield cache


def remaining(told: Answer) -> int:
    assert told.status == 200
    return int((told.header("ratelimit") or "").partition("r=")[2].partition(";")[0])


async def test_one_that_is_opened_beside_a_running_lease_shares_it(cache: TenantCache) -> None:
    """Its first request spends nothing, and so leaves the lease as it is."""
    app = TenantMiddleware(answer, cache=cache)
    told = [remaining(await get(app, ACME)) for _ in range(3)]
    assert (await get(app, SHOP, "/free")).header("ratelimit") is None
    assert set(cache.memory.hot) == {ACME, SHOP}
    told += [remaining(await get(app, host)) for host in (SHOP, SHOP, ACME, SHOP)]
    assert told == [99, 98, 97, 96, 95, 94, 93]


async def test_all_of_a_tenant_spend_one_lease(cache: TenantCache) -> None:
    app = TenantMiddleware(answer, cache=cache)
    assert [remaining(await get(app, host)) for host in (ACME, SHOP) * 3] == [99, 98, 97, 96, 95, 94]
    found = list(cache.memory.hot.values())
    assert len({id(each) for each in found}) == 2
    assert len({id(each.reservation) for each in found}) == 1
    assert len({id(each.headers) for each in found}) == 1


async def test_one_that_memory_has_dropped_is_not_found(cache: TenantCache) -> None:
    app = TenantMiddleware(answer, cache=cache)
    for _ in range(3):
        await get(app, ACME)
    cache.memory.drop_alias("subdomain:acme")
    assert cache.memory.hot == {}
    assert remaining(await get(app, ACME)) == 96
    assert set(cache.memory.hot) == {ACME}
