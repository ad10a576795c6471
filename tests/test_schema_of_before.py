"""A process on a database whose schema was installed before there was a budget: an upgrade whose `init` was forgotten,
or is yet to come. And one whose rights are those of before."""

from __future__ import annotations

import logging

import asyncpg
import pytest

from tenantcache import SchemaMissingError, Settings, TenantCache
from tests.fakes import until

pytestmark = pytest.mark.usefixtures("patience")

AS_BEFORE = """
    alter table tenantcache.counter_store drop column band, drop column band_version, drop column band_period,
        drop column band_budget, drop column band_edge, drop column band_changed_at, drop column band_wanted_at,
        drop column band_told, drop column band_telling_since;
    drop function tenantcache.change_band;
    drop table tenantcache.redis_usage, tenantcache.redis_bill;
"""


@pytest.fixture
async def url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')")
    await connection.close()
    return database_url


async def run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


async def test_a_process_that_starts_says_what_to_run(url: str, redis_url: str) -> None:
    await run(url, AS_BEFORE)
    with pytest.raises(SchemaMissingError, match="tenantcache init"):
        async with TenantCache(Settings(database_url=url, redis_url=redis_url)):
            pass


async def test_one_that_runs_goes_on_and_says_it_too(
    url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with TenantCache(Settings(database_url=url, redis_url=redis_url, redis_monthly_budget=1000)) as cache:
        tenant = await cache.resolve("acme.localhost")
        assert tenant is not None
        with caplog.at_level(logging.WARNING):
            await run(url, AS_BEFORE)
            await until(lambda: "tenantcache init" in caplog.text)
        assert await cache.resolve("acme.localhost") == tenant
        assert (await cache.check(tenant)).allowed
        assert cache.budget.limit == 1000


async def test_rights_of_before_do_for_all_but_the_budget(
    url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await run(
        url,
        """
        drop role if exists of_before;
        create role of_before login;
        grant usage on schema tenantcache to of_before;
        grant select, insert, update, delete on all tables in schema tenantcache to of_before;
        grant usage on all sequences in schema tenantcache to of_before;
        grant execute on all routines in schema tenantcache to of_before;
        revoke all on tenantcache.redis_usage, tenantcache.redis_bill from of_before;
        """,
    )
    try:
        before = url.replace("postgres@", "of_before@")
        with caplog.at_level(logging.WARNING):
            settings = Settings(database_url=before, redis_url=redis_url, redis_monthly_budget=1000)
            async with TenantCache(settings) as cache:
                await until(lambda: "what the fleet uses of Redis is not known" in caplog.text)
                tenant = await cache.resolve("acme.localhost")
                assert tenant is not None
                assert (await cache.check(tenant)).allowed
                assert cache.budget.read_at is None
                assert cache.budget.used == cache.budget.own > 0
    finally:
        await run(url, "drop owned by of_before; drop role of_before")
