"""`cache.tenants`: what is written is seen at once, here, in Postgres and in Redis, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from tenantcache import NotOpenError, Settings, StoreUnavailableError, Tenant, TenantCache
from tenantcache.errors import (
    AdoptedTableError,
    InvalidTenantError,
    NameTakenError,
    TenantCacheError,
    UnknownTenantError,
)
from tenantcache.schema.adopt import Adoption, TableOptions, install, prepare, write_query
from tenantcache.tenant import Limits
from tests.fakes import FakeClock, FakeDatabase, make_cache
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

PLANS = {"pro": {"per_minute": 50, "per_day": None}}


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"], plans=PLANS)


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[TenantCache]:
    async with TenantCache(settings) as cache:
        yield cache


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[TenantCache]:
    """Another process, as far as this one can tell; what it has in memory was asked for."""
    async with TenantCache(settings.model_copy(update={"warm_up": False})) as other:
        yield other


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def redis_keys(url: str) -> set[str]:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        return {key async for key in client.scan_iter("tenantcache:tenant:*")}


class TestCreate:
    async def test_everything(self, cache: TenantCache, other: TenantCache) -> None:
        created = await cache.tenants.create(
            "Acme",
            id="t1",
            subdomain="ACME",
            domains=["shop.acme.io", "BÜCHER.example", "shop.acme.io"],
            primary_domain="SHOP.acme.io",
            status="maintenance",
            plan="pro",
            limit_per_minute=5,
            attributes={"colour": ["red"]},
        )
        assert created == Tenant(
            "t1",
            "Acme",
            "acme",
            ("shop.acme.io", "xn--bcher-kva.example"),
            "shop.acme.io",
            "maintenance",
            "pro",
            Limits(5, None),
            {"colour": ("red",)},
        )
        await other.sync()
        for host in ("acme.example.com", "shop.acme.io", "xn--bcher-kva.example"):
            assert await cache.resolve(host) == await other.resolve(host) == created

    async def test_the_least(self, cache: TenantCache) -> None:
        created = await cache.tenants.create("Acme")
        assert created == Tenant(created.id, "Acme", limits=Limits(600, 100_000))
        assert len(created.id) == 36
        assert await cache.get_many([created.id]) == {created.id: created}

    async def test_is_seen_where_it_was_unknown_before(self, cache: TenantCache) -> None:
        assert await cache.resolve("acme.example.com") is None
        created = await cache.tenants.create("Acme", subdomain="acme")
        assert await cache.resolve("acme.example.com") == created

    async def test_puts_it_into_redis_under_all_its_names(
        self, cache: TenantCache, other: TenantCache, redis_url: str, billed_commands: BilledCommands
    ) -> None:
        await cache.tenants.create("Acme", id="t1", subdomain="acme", domains=["acme.io"])
        names = ("id:t1", "subdomain:acme", "domain:acme.io")
        assert await redis_keys(redis_url) == {f"tenantcache:tenant:{name}" for name in names}
        assert billed_commands.by_command()["set"] == 3
        await other.sync()
        assert await other.resolve("acme.io") is not None
        assert other.stats()["lookups"]["redis_hits"] == 1

    async def test_a_tenant_with_a_hundred_domains_costs_no_hundred_commands(
        self, cache: TenantCache, billed_commands: BilledCommands
    ) -> None:
        created = await cache.tenants.create("Acme", domains=[f"d{number}.example" for number in range(100)])
        assert len(created.domains) == 100
        assert billed_commands.by_command()["set"] == 16

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"id": "t1"}, "id 't1' is taken by another tenant"),
            ({"subdomain": "ACME"}, "subdomain 'acme' is taken by another tenant"),
            ({"domains": ["new.io", "Acme.IO"]}, "domain 'acme.io' is taken by another tenant"),
        ],
    )
    async def test_a_name_that_is_taken(
        self, cache: TenantCache, db: asyncpg.Connection, columns: dict[str, Any], expected: str
    ) -> None:
        await cache.tenants.create("Acme", id="t1", subdomain="acme", domains=["acme.io"])
        with pytest.raises(NameTakenError) as raised:
            await cache.tenants.create("Other", **columns)
        assert str(raised.value) == expected
        assert await db.fetchval("select count(*) from tenantcache.tenants") == 1
        assert await db.fetchval("select count(*) from tenantcache.tenant_domains") == 1

    async def test_all_faults_are_told_at_once(self, cache: TenantCache, db: asyncpg.Connection) -> None:
        wrong: Any = {
            "name": " ",
            "id": "a\nb",
            "subdomain": "www",
            "domains": ["x.example.com", "127.0.0.1"],
            "primary_domain": "other.io",
            "status": "off",
            "plan": 7,
            "limit_per_minute": -1,
            "limit_per_day": 2**53,
            "time_zone": "Europe/Nowhere",
            "attributes": [1],
        }
        with pytest.raises(InvalidTenantError) as raised:
            await cache.tenants.create(**wrong)
        assert str(raised.value).splitlines() == [
            "name is ' '; give a text",
            "subdomain 'www' is reserved and would never be reached; choose another",
            "status is 'off'; there are active, suspended, maintenance, deleted",
            "plan is 7; give a text",
            "limit_per_minute is -1; give a whole number from 0 (unlimited) to 2147483647, or None",
            "limit_per_day is 9007199254740992; give a whole number from 0 (unlimited) to 9007199254740991, or None",
            "time_zone is 'Europe/Nowhere'; give the IANA name of one, like Europe/Berlin",
            "attributes are not a JSON object; give a dict of texts, finite numbers, lists and dicts",
            "id is 'a\\nb'; give 1 to 200 printable characters, or nothing for a random one",
            "domain 'x.example.com' lies under a base domain; give the tenant a subdomain instead",
            "domain '127.0.0.1' is an IP address; give a name",
            "primary domain 'other.io' is none of the domains",
        ]
        assert await db.fetchval("select count(*) from tenantcache.tenants") == 0

    @pytest.mark.parametrize(
        "attributes", [{"a": float("nan")}, {"a": object()}, {"a": "\0"}, {"a": ["\ud800"]}, "text", None]
    )
    async def test_attributes_that_postgres_cannot_hold(self, cache: TenantCache, attributes: Any) -> None:
        with pytest.raises(InvalidTenantError, match="attributes are not a JSON object"):
            await cache.tenants.create("Acme", attributes=attributes)

    async def test_attributes_that_look_worse_than_they_are(self, cache: TenantCache) -> None:
        attributes = {"path": "C:\\u0000", "quote": '"', "nothing": None, "deep": {"a": [1.5, True]}}
        created = await cache.tenants.create("Acme", attributes=attributes)
        assert created.attributes == {**attributes, "deep": {"a": (1.5, True)}}

    async def test_a_column_that_there_is_not(self, cache: TenantCache) -> None:
        wrong: Any = {"colour": "red"}
        with pytest.raises(TypeError, match="a tenant has no 'colour'; there are name, subdomain, status, plan"):
            await cache.tenants.create("Acme", **wrong)


class TestUpdate:
    @pytest.fixture(autouse=True)
    async def acme(self, cache: TenantCache) -> Tenant:
        return await cache.tenants.create(
            "Acme",
            id="t1",
            subdomain="acme",
            domains=["acme.io"],
            primary_domain="acme.io",
            plan="pro",
            attributes={"a": 1},
        )

    async def test_changes_what_is_given_and_nothing_else(self, cache: TenantCache, acme: Tenant) -> None:
        changed = await cache.tenants.update("t1", name="Other", limit_per_day=7)
        assert changed == Tenant(
            "t1", "Other", "acme", ("acme.io",), "acme.io", "active", "pro", Limits(50, 7), acme.attributes
        )
        assert await cache.resolve("acme.io") == changed

    async def test_a_time_zone_comes_and_goes(self, cache: TenantCache) -> None:
        changed = await cache.tenants.update("t1", time_zone="Asia/Tokyo")
        assert changed.time_zone == "Asia/Tokyo"
        assert await cache.resolve("acme.io") == changed
        assert (await cache.tenants.create("Other", time_zone="Europe/Berlin")).time_zone == "Europe/Berlin"
        assert (await cache.tenants.update("t1", time_zone=None)).time_zone is None

    async def test_none_takes_a_value_away(self, cache: TenantCache) -> None:
        changed = await cache.tenants.update("t1", plan=None, subdomain=None, attributes={})
        assert (changed.plan, changed.subdomain, changed.attributes) == (None, None, {})
        assert await cache.resolve("acme.example.com") is None

    async def test_a_rename_is_seen_on_both_sides(self, cache: TenantCache, other: TenantCache) -> None:
        assert await other.resolve("acme.example.com") is not None
        changed = await cache.tenants.update("t1", subdomain="acme2")
        await other.sync()
        for engine in (cache, other):
            assert await engine.resolve("acme.example.com") is None
            assert await engine.resolve("acme2.example.com") == changed

    async def test_redis_has_it_before_anybody_asks(
        self, cache: TenantCache, other: TenantCache, billed_commands: BilledCommands
    ) -> None:
        billed_commands.reset()
        await cache.tenants.update("t1", name="Other")
        assert billed_commands.by_command() == {"set": 3}
        await other.sync()
        hits = other.stats()["lookups"]["redis_hits"]
        found = await other.resolve("acme.io")
        assert found is not None and found.name == "Other"
        assert other.stats()["lookups"]["redis_hits"] == hits + 1

    async def test_a_tombstone_keeps_its_names(self, cache: TenantCache) -> None:
        await cache.tenants.update("t1", status="deleted")
        found = await cache.resolve("acme.io")
        assert found is not None and found.status == "deleted"
        with pytest.raises(NameTakenError):
            await cache.tenants.create("Other", domains=["acme.io"])

    async def test_suspend_and_resume(self, cache: TenantCache) -> None:
        assert (await cache.tenants.suspend("t1")).status == "suspended"
        found = await cache.resolve("acme.io")
        assert found is not None and found.status == "suspended"
        assert (await cache.tenants.resume("t1")).status == "active"

    async def test_a_name_that_is_taken(self, cache: TenantCache) -> None:
        await cache.tenants.create("Globex", subdomain="globex")
        with pytest.raises(NameTakenError, match="subdomain 'globex' is taken by another tenant"):
            await cache.tenants.update("t1", subdomain="globex")

    async def test_an_unknown_tenant(self, cache: TenantCache) -> None:
        for call in (
            cache.tenants.update("nobody", name="X"),
            cache.tenants.suspend("nobody"),
            cache.tenants.delete("nobody"),
        ):
            with pytest.raises(UnknownTenantError, match="there is no tenant with the id 'nobody'"):
                await call

    async def test_faults(self, cache: TenantCache) -> None:
        wrong: Any = {"status": "Active", "limit_per_minute": True}
        with pytest.raises(InvalidTenantError) as raised:
            await cache.tenants.update("t1", **wrong)
        assert str(raised.value).splitlines() == [
            "status is 'Active'; there are active, suspended, maintenance, deleted",
            "limit_per_minute is True; give a whole number from 0 (unlimited) to 2147483647, or None",
        ]


class TestDelete:
    async def test_it_is_gone_everywhere(self, cache: TenantCache, other: TenantCache, redis_url: str) -> None:
        await cache.tenants.create("Acme", id="t1", subdomain="acme", domains=["acme.io"])
        await other.sync()
        for engine in (cache, other):
            assert await engine.resolve("acme.io") is not None
        await cache.tenants.delete("t1")
        await other.sync()
        for engine in (cache, other):
            assert [await engine.resolve(host) for host in ("acme.example.com", "acme.io")] == [None, None]
            assert await engine.get_many(["t1"]) == {}
        assert await redis_keys(redis_url) == set()


class TestWhereItCannotBe:
    async def test_tenants_of_an_adopted_table_are_not_ours_to_write(
        self, cache: TenantCache, db: asyncpg.Connection
    ) -> None:
        await db.execute("create table customers (id int primary key, slug text unique)")
        written = await write_query(db, TableOptions("customers", subdomain="slug"))
        await install(db, await prepare(db, Adoption(written.sql)))
        for call in (
            cache.tenants.create("Acme"),
            cache.tenants.update("1", name="X"),
            cache.tenants.delete("1"),
            cache.domains.add("1", "acme.io"),
        ):
            with pytest.raises(AdoptedTableError, match=r"those of public\.customers, which is yours"):
                await call

    async def test_a_closed_engine(self, settings: Settings) -> None:
        cache = TenantCache(settings)
        for call in (cache.tenants.create("Acme"), cache.tenants.update("t1"), cache.tenants.delete("t1")):
            with pytest.raises(NotOpenError):
                await call

    async def test_an_engine_without_postgres(self) -> None:
        clock = FakeClock()
        async with make_cache(FakeDatabase(clock), clock) as cache:
            with pytest.raises(TenantCacheError, match="this engine has no Postgres"):
                await cache.tenants.create("Acme")

    async def test_a_write_that_is_committed_is_not_called_failed(
        self, cache: TenantCache, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(_timeout: float) -> None:
            raise StoreUnavailableError("the change log could not be read")

        monkeypatch.setattr(cache.follower, "sync", lost)
        created = await cache.tenants.create("Acme")
        assert await db.fetchval("select name from tenantcache.tenants where id = $1", created.id) == "Acme"
