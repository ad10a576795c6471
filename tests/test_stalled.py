"""Postgres and Redis both swallow every byte without a word. No request waits longer than its deadline."""

from __future__ import annotations

import asyncio

import asyncpg

from tenantcache import Settings, StoreUnavailableError, TenantCache
from tests.fakes import until
from tests.freshness.proxy import SwallowingProxy
from tests.ticks import Ticks, ticking

DEADLINE = 2.0
MARGIN = 0.5
"""Seconds for a machine that has other things to do."""


async def seconds_and_name(cache: TenantCache, host: str, ticks: Ticks) -> tuple[float, str | None]:
    """How long one request takes, and the name that comes; "refused" if no store could say."""
    started = ticks.seconds
    try:
        tenant = await cache.resolve(host)
        name = None if tenant is None else tenant.name
    except StoreUnavailableError as error:
        assert error.retry_after >= 1
        name = "refused"
    return ticks.seconds - started, name


async def test_no_request_waits_longer_than_its_deadline(database_url: str, redis_url: str) -> None:
    database = await asyncpg.connect(database_url)
    await database.execute("""
        insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme');
        insert into tenantcache.tenants (id, name, subdomain) select n, n, 't' || n from generate_series(1, 300) n
    """)
    async with SwallowingProxy(database_url) as postgres, SwallowingProxy(redis_url) as redis:
        settings = Settings(
            _environ={},
            database_url=postgres.url,
            redis_url=redis.url,
            base_domains=["example.com"],
            limits="off",
            host_index_max_hosts=0,
            warm_up=False,
        )
        async with TenantCache(settings) as cache, ticking() as ticks:
            assert await cache.resolve("acme.example.com") is not None
            postgres.swallowing = redis.swallowing = True
            hosts = [f"t{number}.example.com" for number in range(1, 301)]
            answers = await asyncio.gather(*(seconds_and_name(cache, host, ticks) for host in hosts))
            assert {name for _, name in answers} == {"refused"}
            assert max(seconds for seconds, _ in answers) < DEADLINE + MARGIN

            await asyncio.sleep(settings.max_staleness)  # what is known is served on, and costs one attempt at most
            assert not cache.stats()["freshness"]["valid"]
            for _ in range(5):
                seconds, name = await seconds_and_name(cache, "acme.example.com", ticks)
                assert name == "Acme"
                assert seconds < DEADLINE + MARGIN

            postgres.swallowing = redis.swallowing = False
            await until(lambda: cache.stats()["freshness"]["valid"], seconds=10)
            await asyncio.sleep(1.0)  # the longest pause of the breaker before Postgres
            assert (await seconds_and_name(cache, "t1.example.com", ticks))[1] == "1"
    await database.close()
