"""What a process answers that follows adopted tables, while people do to them what people do, on a real Postgres.

The truth within `max_staleness`, or nothing, and never another's tenant.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tenantcache import Settings, StoreUnavailableError, TenantCache
from tenantcache.schema.adopt import Adoption
from tenantcache.schema.adopt.explain import differing, repair
from tenantcache.stores.changelog import PostgresLog
from tests.adoption.small import QUERY, adopt, misled, publish

MAX_STALENESS = 3.0
CANNOT_SAY = "503"
pytestmark = pytest.mark.usefixtures("patience")


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[TenantCache]:
    settings = Settings(
        _environ={},
        database_url=url,
        base_domains=["example.com"],
        limits="off",
        stale_if_error=0,
        max_staleness=MAX_STALENESS,
    )
    async with TenantCache(settings) as cache:
        while not cache.indexer.is_ready:
            await asyncio.sleep(0.02)
        yield cache


async def answer(cache: TenantCache, host: str) -> str | None:
    """The tenant's id and name of its plan, None, or CANNOT_SAY."""
    try:
        tenant = await cache.resolve(host)
    except StoreUnavailableError:
        return CANNOT_SAY
    return None if tenant is None else f"{tenant.id} {tenant.plan}"


async def until(
    cache: TenantCache,
    host: str,
    wanted: str | None,
    *,
    allowed: Collection[str | None] = (),
    before: str | None = None,
) -> None:
    """Ask until it is `wanted`; until then CANNOT_SAY, `allowed`, or for `max_staleness` what was `before`."""
    started = time.monotonic()
    while True:
        asked = time.monotonic() - started
        found = await answer(cache, host)
        if found == wanted:
            return
        is_recent = found == before and before is not None and asked < MAX_STALENESS
        assert found == CANNOT_SAY or found in allowed or is_recent, (host, found, asked)
        assert asked < 60, f"{host} is still {found}"
        await asyncio.sleep(0.05)


async def test_a_name_with_two_active_owners_is_served_for_none(
    small_adopted_url: str, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(small_adopted_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        assert await answer(cache, "two.example.com") == "2 pro"
        with caplog.at_level(logging.WARNING):
            await db.execute("update org set slug = 'ONE' where id = 2")
            await cache.sync()
            for _ in range(3):
                assert await answer(cache, "one.example.com") is None
                assert await answer(cache, "two.example.com") is None
        told = [record.getMessage() for record in caplog.records]
        assert told == ["two tenants have the name one, so it is not served; take it from one of them"]
        await db.execute("update org set status = 'suspended' where id = 2")
        await cache.sync()
        assert await answer(cache, "one.example.com") == "1 free"
        await db.execute("update org set status = null where id = 2; update org set slug = null where id = 1")
        await cache.sync()
        assert await answer(cache, "one.example.com") == "2 pro"
        assert await answer(cache, "one.io") == "1 free"


SWAPS = {
    "copied, and names exchanged": """
        create table org_new (like org including all);
        insert into org_new select * from org;
        update org_new set slug = case id when 1 then 'two' when 2 then 'one' else slug end;
        alter table org rename to org_old; alter table org_new rename to org
    """,
    "dropped and made anew": """
        create table org_new as select id, case id when 1 then 'two' when 2 then 'one' else slug end as slug, status,
            plan_id, seats, settings, touched from org;
        drop table org cascade; alter table org_new rename to org
    """,
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS.keys())
async def test_a_table_that_took_the_place_of_another(
    small_adopted_url: str, db: asyncpg.Connection, swap: str
) -> None:
    async with serving(small_adopted_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        assert await answer(cache, "three.example.com") == "3 pro"
        await db.execute(swap)
        committed = time.monotonic()
        while time.monotonic() < committed + MAX_STALENESS + 1:
            asked = time.monotonic()
            found = await answer(cache, "one.example.com")
            assert found in ("2 pro", CANNOT_SAY) or (found == "1 free" and asked < committed + MAX_STALENESS)
            assert await answer(cache, "three.example.com") in ("3 pro", CANNOT_SAY)
            await asyncio.sleep(0.05)
        assert await adopt(db)
        await until(cache, "one.example.com", "2 pro")
        await until(cache, "two.example.com", "1 free")
        await db.execute("update org set slug = 'four' where id = 3")
        await until(cache, "four.example.com", "3 pro", allowed=[None])
        await until(cache, "three.example.com", None, before="3 pro")


async def test_a_column_that_took_the_place_of_another(small_adopted_url: str, db: asyncpg.Connection) -> None:
    """Expand and contract, as migration tools do it, while names change hands."""
    async with serving(small_adopted_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        assert await answer(cache, "two.example.com") == "2 pro"
        await db.execute("alter table org add slug2 text")
        await db.execute("update org set slug2 = case id when 1 then 'two' when 2 then 'one' else slug end")
        await db.execute("begin; alter table org rename slug to slug1; alter table org rename slug2 to slug; commit")
        await until(cache, "one.example.com", "2 pro", before="1 free")
        await until(cache, "two.example.com", "1 free", before="2 pro")
        await db.execute("alter table org drop column slug1 cascade")
        await db.execute("insert into org (id, slug, plan_id) values (4, 'four', 1)")
        await until(cache, "four.example.com", "4 free", allowed=[None])
        await db.execute(
            "begin; update org set slug = 'x' where id = 1; update org set slug = 'two' where id = 4; commit"
        )
        await until(cache, "two.example.com", "4 free", before="1 free")


@pytest.mark.parametrize(
    "breaking",
    [
        "alter table org drop column status cascade",
        "alter table org rename column slug to handle",
        "drop table domain cascade",
        "alter schema public rename to elsewhere",
    ],
)
async def test_what_the_query_needs_is_gone(
    small_adopted_url: str, db: asyncpg.Connection, breaking: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(small_adopted_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        with caplog.at_level(logging.WARNING):
            await db.execute(breaking)
            await until(cache, "one.example.com", CANNOT_SAY, before="1 free")
            await asyncio.sleep(1.2)
            assert await answer(cache, "one.example.com") == CANNOT_SAY
        told = [one.getMessage() for one in caplog.records if "changes cannot be followed" in one.getMessage()]
        assert len(told) == 1
        assert told[0].endswith("run `tenantcache init` again")


@pytest.mark.parametrize("is_always", [False, True])
async def test_hosts_that_came_while_triggers_were_off(
    small_adopted_url: str, db: asyncpg.Connection, is_always: bool
) -> None:
    names = [row[0] for row in await db.fetch("select tgname from pg_trigger where tgrelid = 'org'::regclass"
                                              " and tgname like 'tenantcache%'")]  # fmt: skip
    async with serving(small_adopted_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        assert await answer(cache, "later.example.com") is None
        on = (
            "; ".join(f"alter table org enable always trigger {name}" for name in names)
            if is_always
            else ("alter table org enable trigger all")
        )
        await db.execute(
            "alter table org disable trigger all; insert into org (id, slug, plan_id) values (4, 'later', 2);"
            f"update org set slug = 'uno' where id = 1; {on}"
        )
        # Between two pulls, so that nothing but another definition shows it.
        await until(cache, "later.example.com", "4 pro", allowed=[None])
        await until(cache, "one.example.com", None, before="1 free")
        assert await answer(cache, "uno.example.com") == "1 free"
        assert await misled(db) == []
        enabled = await db.fetch("select tgenabled from pg_trigger where tgname = any ($1)", names)
        assert {row[0] for row in enabled} == {b"A"}


async def test_what_no_trigger_saw_is_found_by_comparing(small_url: str, bare: asyncpg.Connection) -> None:
    await bare.execute("create function slug_of(org) returns text stable language sql as 'select $1.slug'")
    await adopt(bare, Adoption(QUERY.replace("o.slug as", "slug_of(o) as")))
    async with serving(small_url) as cache:
        assert await answer(cache, "one.example.com") == "1 free"
        await bare.execute("create or replace function slug_of(org) returns text stable language sql as"
                         " $$select case $1.id when 1 then 'uno' else $1.slug end$$")  # fmt: skip
        assert await bare.fetchval("select tenantcache.verify_some(2)") == 1
        await cache.sync()
        assert await answer(cache, "one.example.com") is None
        assert await answer(cache, "uno.example.com") == "1 free"
        await bare.execute("create or replace function slug_of(org) returns text stable language sql as"
                         " $$select 'a' || $1.id$$")  # fmt: skip
        found = [one async for _, some in differing(bare) for one in some]
        assert sorted(found) == ["1", "2", "3"]
        await repair(bare, found)
        await cache.sync()
        assert [await answer(cache, f"{name}.example.com") for name in ("uno", "a1", "a2")] == [None, "1 free", "2 pro"]
        assert await misled(bare) == []


async def test_a_follower_compares_from_time_to_time(small_url: str, bare: asyncpg.Connection) -> None:
    await bare.execute("create function slug_of(org) returns text stable language sql as 'select $1.slug'")
    await adopt(bare, Adoption(QUERY.replace("o.slug as", "slug_of(o) as")))
    await bare.execute("create or replace function slug_of(org) returns text stable language sql as 'select null'")
    log = PostgresLog(small_url)
    await log.open(lambda *_, **__: None)
    try:
        await log.prune(86_400, 100)
        while len(await bare.fetch("select from tenantcache.outbox")) < 3:
            await asyncio.sleep(0.02)
    finally:
        await log.close()


async def test_a_change_of_a_row_names_its_domains_and_both_its_names(
    small_adopted_url: str, db: asyncpg.Connection
) -> None:
    before = await db.fetchval("select max(seq) from tenantcache.change_log")
    await db.execute("update org set plan_id = 2, slug = 'uno' where id = 1")
    await publish(db)
    rows = await db.fetch("select tenant_id, hosts from tenantcache.change_log where seq > $1", before)
    assert [(row["tenant_id"], sorted(row["hosts"])) for row in rows] == [
        ("1", ["domain:eins.de", "domain:one.io", "subdomain:one", "subdomain:uno"])
    ]


async def test_one_odd_row_leaves_all_others_served(
    small_url: str, bare: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await bare.execute("insert into org (id, slug, plan_id) select n, 'many-' || n, 1 from generate_series(100, 149) n")
    await adopt(bare)
    await bare.execute("update org set seats = 'many', settings = '[1e5000]' where id = 2")
    with caplog.at_level(logging.WARNING):
        async with serving(small_url) as cache:
            for _ in range(2):
                assert await answer(cache, "two.example.com") == "2 pro"
                for number in range(100, 150):
                    assert await answer(cache, f"many-{number}.example.com") == f"{number} free"
            found = await cache.get_many(["2", *map(str, range(100, 150))])
            assert len(found) == 51
            while cache.warm_up.tenants + len(cache.memory) < 53:
                await asyncio.sleep(0.02)
    assert [one.getMessage() for one in caplog.records] == [
        "limit_per_minute of the tenant 2 cannot be read, and counts as empty"
    ]
