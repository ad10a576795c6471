"""Tenants that have been in memory for longer than their TTL, on a real Postgres: served on, and never out of date."""

from __future__ import annotations

import asyncpg
import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.runtime import clock as clocks
from tests.asgi import get

pytestmark = pytest.mark.usefixtures("patience")

TTL = 100.0


class MovableClock:
    """The machine's own, and as many seconds more as it was moved on."""

    moved = 0.0

    def __call__(self) -> float:
        return clocks.now() + self.moved


async def say_name(scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["state"]["tenant"].name.encode()})


@pytest.mark.parametrize("stale_if_error", [0, 10, 300])
@pytest.mark.parametrize("ages", [0.5, 1.001, 2.001, 4.001, 4.5])
async def test_a_change_is_seen_however_old_the_entry(database_url: str, stale_if_error: float, ages: float) -> None:
    database = await asyncpg.connect(database_url)
    await database.execute("insert into tenantcache.tenants (name, subdomain) values ('before', 'acme')")
    settings = Settings(
        _environ={},
        database_url=database_url,
        base_domains=["example.com"],
        limits="off",
        memory_ttl=TTL,
        stale_if_error=stale_if_error,
        max_staleness=3.0,
    )
    clock = MovableClock()
    async with TenantCache(settings, clock=clock) as cache:
        app = TenantMiddleware(say_name, cache=cache)
        for _ in range(2):  # the second time on the fast path
            assert (await get(app)).body == b"before"
        assert list(cache.memory.hot) == [b"acme.example.com"]
        clock.moved += ages * TTL
        await cache.sync()
        await database.execute("update tenantcache.tenants set name = 'after'")
        await cache.sync()
        assert (await get(app)).body == b"after"
    await database.close()


async def test_what_is_past_its_ttl_is_read_again_in_the_background_without_any_stale_if_error(
    database_url: str,
) -> None:
    """That is all there is to find out what was written while the triggers were off."""
    database = await asyncpg.connect(database_url)
    await database.execute("insert into tenantcache.tenants (name, subdomain) values ('before', 'acme')")
    settings = Settings(
        _environ={},
        database_url=database_url,
        base_domains=["example.com"],
        limits="off",
        memory_ttl=TTL,
        stale_if_error=0,
    )
    clock = MovableClock()
    async with TenantCache(settings, clock=clock) as cache:
        app = TenantMiddleware(say_name, cache=cache)
        for _ in range(2):
            assert (await get(app)).body == b"before"
        # In one transaction, and without a trace: what has changed about the triggers would be seen otherwise.
        await database.execute("""
            alter table tenantcache.tenants disable trigger user;
            update tenantcache.tenants set name = 'after';
            alter table tenantcache.tenants enable always trigger tenantcache_written,
                enable always trigger tenantcache_changed, enable always trigger tenantcache_truncated;
            update tenantcache.watched_tables w set definition = tenantcache.definition_of(w);
        """)
        clock.moved += TTL + 1
        await cache.sync()
        assert (await get(app)).body == b"before"
        await cache.resolver.refresh_due()
        loads = cache.stats()["lookups"]["loads"]
        assert (await get(app)).body == b"after"
        assert cache.stats()["lookups"]["loads"] == loads, "no request had to wait for it"
    await database.close()
