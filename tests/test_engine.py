"""The engine's own promises: its life cycle, look-ups by host and by id, `invalidate`, `sync`, `check` and `stats`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from tenantcache import (
    ConfigurationError,
    NotOpenError,
    SchemaMissingError,
    Settings,
    StoreUnavailableError,
    Tenant,
    TenantCache,
)
from tenantcache.devservers import free_port
from tenantcache.errors import UnknownTenantError
from tenantcache.lookup.fastpath import Serving
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.wiring.stores import Stores
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row, until
from tests.servers.billing import BilledCommands


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(clock, row("acme", name="Acme", domains=["shop.acme.io"]), row("globex"))


@pytest.fixture
async def cache(database: FakeDatabase, clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(database, clock) as cache:
        yield cache


def name_of(tenant: Tenant | None) -> str | None:
    return None if tenant is None else tenant.name


# Life.


async def test_it_must_be_open(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    tenant = Tenant("acme", "Acme")
    for call in (
        cache.resolve("acme.example.com"),
        cache.get_many(["acme"]),
        cache.check(tenant),
        cache.invalidate("acme"),
        cache.sync(),
    ):
        with pytest.raises(NotOpenError, match="open the TenantCache first"):
            await call
    async with cache:
        assert cache.is_open
    with pytest.raises(NotOpenError):
        await cache.resolve("acme.example.com")


async def test_opening_and_closing_twice_is_harmless(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    await asyncio.gather(*(cache.open() for _ in range(5)))
    await cache.open()
    await cache.close()
    await cache.close()
    assert database.calls == ["open", "leave", "close"]


async def test_closing_what_was_never_opened_is_harmless(database: FakeDatabase, clock: FakeClock) -> None:
    await make_cache(database, clock).close()
    assert database.calls == []


async def test_it_leaves_no_task_behind(database: FakeDatabase, clock: FakeClock) -> None:
    before = asyncio.all_tasks()
    async with make_cache(database, clock) as cache:
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        await cache.check(tenant)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_what_happened_while_it_was_closed_is_seen(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    async with cache:
        assert name_of(await cache.resolve("acme.example.com")) == "Acme"
    database.put(row("acme", name="Acme 2"))
    async with cache:
        assert name_of(await cache.resolve("acme.example.com")) == "Acme 2"


async def test_opened_again_it_is_hot_again(database: FakeDatabase, clock: FakeClock) -> None:
    """A reservation that gave everything back is dead: an entry that still led there would never be hot."""
    cache = make_cache(database, clock)
    for _ in range(2):
        async with cache:
            tenant = await cache.resolve("acme.example.com")
            assert tenant is not None
            assert (await cache.check(tenant)).allowed
            entry = cache.memory.get("subdomain:acme")
            assert entry is not None
            cache.fast_paths.open(b"acme.example.com", entry, Serving(tenant, cache))
            assert entry.fast_path is not None
            assert entry.fast_path.reservation.minute > 0


async def test_opening_waits_for_a_close_that_is_under_way(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    goes_on = asyncio.Event()
    original = database.leave

    async def leave_slowly(process_id: UUID) -> None:
        await goes_on.wait()
        await original(process_id)

    database.leave = leave_slowly  # type: ignore[method-assign]
    await cache.open()
    closing, opening = asyncio.create_task(cache.close()), asyncio.create_task(cache.open())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not cache.is_open
    goes_on.set()
    await asyncio.gather(closing, opening)
    assert database.calls == ["open", "leave", "close", "open"]
    assert name_of(await cache.resolve("acme.example.com")) == "Acme"
    await cache.close()


async def test_closing_at_once_ends_an_opening_before_its_first_step(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    opening = asyncio.create_task(cache.open())
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not cache.is_open
    async with cache:
        assert name_of(await cache.resolve("acme.example.com")) == "Acme"


async def test_an_open_engine_that_is_dropped_warns(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    await cache.open()
    life = cache._life
    with pytest.warns(ResourceWarning, match="TenantCache object .* was dropped without being closed"):
        del cache
        gc.collect()
    await life.close()


@pytest.mark.filterwarnings("error")
async def test_an_engine_that_is_closed_or_was_never_made_does_not_warn(
    database: FakeDatabase, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(database, clock)
    async with cache:
        pass
    monkeypatch.setenv("TENANTCACHE_LIMITS", "maybe")
    with pytest.raises(ConfigurationError):
        TenantCache()
    del cache
    gc.collect()


def test_it_may_be_opened_again_in_another_loop(clock: FakeClock) -> None:
    """As test clients do, each of which runs the application in a loop of its own."""
    database = FakeDatabase(clock, row("acme", name="Acme"))
    cache = make_cache(database, clock)

    async def use() -> str | None:
        async with cache:
            await cache.sync()
            return name_of(await cache.resolve("acme.example.com"))

    assert [asyncio.run(use()) for _ in range(2)] == ["Acme", "Acme"]


class BrokenAtTheEnd(MemoryCounters):
    async def close(self) -> None:
        raise RuntimeError("this one cannot even be closed")


async def test_closing_goes_on_past_what_fails(database: FakeDatabase, clock: FakeClock) -> None:
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:1/none")
    stores = Stores.from_settings(settings)
    closed: list[str] = []

    async def close() -> None:
        closed.append("postgres")

    async def open_nothing() -> None:
        return None

    assert stores.postgres is not None
    stores.postgres.open, stores.postgres.close = open_nothing, close  # type: ignore[method-assign]  # no server here
    stores.tenants, stores.hosts, stores.log, stores.counters = database, database, database, BrokenAtTheEnd()
    cache = TenantCache(settings, stores=stores, clock=clock)
    await cache.open()
    await cache.close()
    assert closed == ["postgres"]
    assert not cache.is_open


async def test_an_unreachable_server_is_named_and_the_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantcache.lifecycle.OPEN_TIMEOUT", 0.2)
    settings = Settings(database_url=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/app")
    cache = TenantCache(settings)
    with pytest.raises(StoreUnavailableError, match=r"TENANTCACHE_DATABASE_URL.*127\.0\.0\.1") as caught:
        await cache.open()
    assert "hunter2" not in str(caught.value)
    assert not cache.is_open


async def test_missing_tables_say_what_to_run(empty_database_url: str) -> None:
    cache = TenantCache(Settings(database_url=empty_database_url))
    with pytest.raises(SchemaMissingError, match="tenantcache init"):
        await cache.open()
    assert not cache.is_open


async def test_it_opens_without_redis(database_url: str) -> None:
    settings = Settings(database_url=database_url, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with TenantCache(settings) as cache:
        assert await cache.resolve("nobody.localhost") is None


# Look-ups.


async def test_resolve_takes_what_a_host_header_holds(cache: TenantCache) -> None:
    for host in ("acme.example.com", "ACME.Example.COM:8000", "acme.example.com.", "shop.acme.io"):
        assert name_of(await cache.resolve(host)) == "Acme"


async def test_resolve_of_what_is_no_tenants_is_none(cache: TenantCache) -> None:
    for host in (
        "nobody.example.com",
        "example.com",
        "www.example.com",
        "",
        "ac me",
        "ünï.example.com",
        "\udcff",
        "[::1]",
    ):
        assert await cache.resolve(host) is None


async def test_resolve_shows_a_tenant_whatever_its_status(database: FakeDatabase, cache: TenantCache) -> None:
    database.put(row("acme", status="suspended"))
    await cache.sync()
    tenant = await cache.resolve("acme.example.com")
    assert tenant is not None
    assert tenant.status == "suspended"


async def test_a_second_look_up_asks_nobody(database: FakeDatabase, cache: TenantCache) -> None:
    first = await cache.resolve("acme.example.com")
    reads = len(database.reads)
    assert await cache.resolve("acme.example.com") is first
    assert len(database.reads) == reads


async def test_many_at_once_are_one_look_up(database: FakeDatabase, cache: TenantCache) -> None:
    await asyncio.gather(*(cache.resolve("acme.example.com") for _ in range(100)))
    assert database.reads == [("subdomain:acme",)]


async def test_get_many_is_one_query_and_leaves_out_who_is_not_there(
    database: FakeDatabase, cache: TenantCache
) -> None:
    found = await cache.get_many(["acme", "nobody", "globex", "acme"])
    assert {tenant_id: tenant.name for tenant_id, tenant in found.items()} == {"acme": "Acme", "globex": "globex"}
    assert len(database.reads) == 1
    assert await cache.get_many(["globex", "acme"]) == {"globex": found["globex"], "acme": found["acme"]}
    assert await cache.get_many([]) == {}
    assert len(database.reads) == 1


async def test_limits_come_from_tenant_plan_and_defaults(clock: FakeClock) -> None:
    rows = [
        row("own", plan="pro", limit_per_minute=7),
        row("planned", plan="pro"),
        row("plain"),
        row("free", limit_per_day=0),
    ]
    plans = {"pro": {"per_minute": 100, "per_day": 1000}}
    async with make_cache(
        FakeDatabase(clock, *rows), clock, plans=plans, limit_per_minute=5, limit_per_day=50
    ) as cache:
        found = await cache.get_many([one["id"] for one in rows])
    limits = {tenant_id: (tenant.limits.per_minute, tenant.limits.per_day) for tenant_id, tenant in found.items()}
    assert limits == {"own": (7, 1000), "planned": (100, 1000), "plain": (5, 50), "free": (5, None)}


async def test_what_nobody_can_say_is_an_error_with_a_time_to_come_back(
    database: FakeDatabase, cache: TenantCache
) -> None:
    database.failing = True
    with pytest.raises(StoreUnavailableError) as caught:
        await cache.resolve("acme.example.com")
    assert caught.value.retry_after >= 1
    with pytest.raises(StoreUnavailableError):
        await cache.get_many(["acme"])


# Changes.


async def test_sync_reads_your_own_writes(database: FakeDatabase, cache: TenantCache) -> None:
    for version in range(20):
        database.put(row("acme", name=f"Acme {version}", domains=["shop.acme.io"]))
        await cache.sync()
        assert name_of(await cache.resolve("acme.example.com")) == f"Acme {version}"
        assert name_of(await cache.resolve("shop.acme.io")) == f"Acme {version}"
        assert (await cache.get_many(["acme"]))["acme"].name == f"Acme {version}"


async def test_a_domain_that_moves_is_answered_by_the_new_tenant(database: FakeDatabase, cache: TenantCache) -> None:
    assert name_of(await cache.resolve("shop.acme.io")) == "Acme"
    database.put(row("acme", name="Acme"))
    database.put(row("globex", domains=["shop.acme.io"]))
    await cache.sync()
    assert name_of(await cache.resolve("shop.acme.io")) == "globex"


async def test_a_tenant_that_comes_and_goes(database: FakeDatabase, cache: TenantCache) -> None:
    assert await cache.resolve("late.example.com") is None
    database.put(row("late"))
    await cache.sync()
    assert name_of(await cache.resolve("late.example.com")) == "late"
    assert list(await cache.get_many(["late"])) == ["late"]
    database.delete("late")
    await cache.sync()
    assert await cache.resolve("late.example.com") is None
    assert await cache.get_many(["late"]) == {}


async def test_a_tenant_that_nobody_asked_for_holds_no_tokens(cache: TenantCache) -> None:
    tenant = await cache.resolve("acme.example.com")
    assert tenant is not None
    assert cache.stats()["limits"]["tenants"] == 0
    await cache.check(tenant)
    assert cache.stats()["limits"]["tenants"] == 1


async def test_a_tenant_that_was_kept_for_long_brings_no_old_limit_with_it(
    database: FakeDatabase, cache: TenantCache
) -> None:
    database.put(row("acme", limit_per_minute=100))
    await cache.sync()
    old = await cache.resolve("acme.example.com")
    database.put(row("acme", limit_per_minute=2))
    await cache.sync()
    await cache.resolve("acme.example.com")
    assert old is not None
    assert [(await cache.check(old)).allowed for _ in range(4)] == [True, True, False, False]


async def test_a_change_of_limits_takes_hold(database: FakeDatabase, cache: TenantCache) -> None:
    database.put(row("acme", limit_per_minute=2))
    await cache.sync()
    assert [await _check(cache, "acme") for _ in range(4)] == [True, True, False, False]
    database.put(row("acme", limit_per_minute=3))
    await cache.sync()
    assert [await _check(cache, "acme") for _ in range(2)] == [True, False]


async def _check(cache: TenantCache, subdomain: str) -> bool:
    tenant = await cache.resolve(f"{subdomain}.example.com")
    assert tenant is not None
    return (await cache.check(tenant)).allowed


async def test_sync_says_when_the_log_cannot_be_read(
    database: FakeDatabase, cache: TenantCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantcache.wiring.inloop.SYNC_TIMEOUT", 0.2)
    database.failing = True
    with pytest.raises(StoreUnavailableError, match="change log"):
        async with asyncio.timeout(5):
            await cache.sync()


async def test_invalidate_makes_everybody_read_again(database: FakeDatabase, clock: FakeClock) -> None:
    async with make_cache(database, clock) as here, make_cache(database, clock) as there:
        before = [await cache.resolve("shop.acme.io") for cache in (here, there)]
        reads = len(database.reads)
        await here.invalidate("acme")
        await there.sync()
        after = [await cache.resolve("shop.acme.io") for cache in (here, there)]
        assert after == before
        assert database.reads[reads:] == [("id:acme",), ("domain:shop.acme.io",), ("domain:shop.acme.io",)]


async def test_invalidate_of_a_tenant_that_was_never_seen(database: FakeDatabase, cache: TenantCache) -> None:
    await cache.invalidate("nobody")
    assert name_of(await cache.resolve("acme.example.com")) == "Acme"


async def test_invalidate_says_when_it_cannot(database: FakeDatabase, cache: TenantCache) -> None:
    database.failing = True
    with pytest.raises(StoreUnavailableError):
        await cache.invalidate("acme")


async def test_invalidate_costs_redis_one_command_for_all_aliases(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    await _execute(
        database_url,
        "insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme')",
        "insert into tenantcache.tenant_domains (domain, tenant_id) values ('shop.acme.io', '1'), ('acme.io', '1')",
    )
    async with TenantCache(Settings(database_url=database_url, redis_url=redis_url, warm_up=False)) as cache:
        for host in ("acme.localhost", "shop.acme.io", "acme.io"):
            assert name_of(await cache.resolve(host)) == "Acme"
        await until(lambda: billed_commands.by_command().get("set") == 3)  # copies are made in the background
        billed_commands.reset()
        await cache.invalidate("1")
        assert billed_commands.by_command() == {"unlink": 1}


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# Copies in Redis.


async def test_a_second_process_starts_from_redis(
    database_url: str, redis_url: str, billed_commands: BilledCommands
) -> None:
    await _execute(
        database_url,
        "insert into tenantcache.tenants (id, name, subdomain) values ('1', 'Acme', 'acme'), ('2', 'Globex', 'globex')",
    )
    settings = Settings(database_url=database_url, redis_url=redis_url, warm_up=False)
    async with TenantCache(settings) as first:
        for host in ("acme.localhost", "globex.localhost"):
            await first.resolve(host)
        await first.get_many(["1", "2"])
        await until(lambda: billed_commands.by_command().get("set") == 4)
    async with TenantCache(settings) as second:
        await until(lambda: second.indexer.is_ready)  # it asks Postgres as well
        queries = second.stats()["postgres"]["queries"]
        assert name_of(await second.resolve("acme.localhost")) == "Acme"
        assert sorted(await second.get_many(["1", "2"])) == ["1", "2"]
        assert second.stats()["lookups"]["redis_hits"] == 3
        assert second.stats()["postgres"]["queries"] == queries


# Limits.


async def test_check_counts_down(database: FakeDatabase, clock: FakeClock) -> None:
    database.put(row("acme", limit_per_minute=10))
    async with make_cache(database, clock) as cache:
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        first, second = await cache.check(tenant), await cache.check(tenant, cost=4)
        assert [decision.quotas[0].remaining for decision in (first, second)] == [9, 5]
        refused = await cache.check(tenant, cost=6)
        assert (refused.allowed, refused.violated) == (False, ("minute",))
        assert (await cache.check(tenant, cost=5)).allowed


@pytest.mark.parametrize(("limits", "allowed"), [("enforce", False), ("shadow", True), ("off", True)])
async def test_limits_may_be_enforced_watched_or_off(
    database: FakeDatabase, clock: FakeClock, limits: str, allowed: bool
) -> None:
    database.put(row("acme", limit_per_minute=1))
    counters = FakeCounters()
    async with make_cache(database, clock, counters=counters, limits=limits) as cache:
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        decisions: list[Decision] = [await cache.check(tenant) for _ in range(3)]
        assert [decision.allowed for decision in decisions] == [True, allowed, allowed]
        assert cache.stats()["limits"]["shadowed"] == (2 if limits == "shadow" else 0)
        assert bool(counters.takes) == (limits != "off")


async def test_counters_live_in_postgres_where_there_is_no_redis(database_url: str) -> None:
    await _execute(
        database_url,
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
        " values ('1', 'Acme', 'acme', 0, 20)",
    )
    settings = Settings(database_url=database_url)
    async with TenantCache(settings) as first, TenantCache(settings) as second:
        admitted = 0
        for _ in range(20):
            for cache in (first, second):
                tenant = await cache.resolve("acme.localhost")
                assert tenant is not None
                admitted += (await cache.check(tenant)).allowed
        assert admitted == 20


async def test_check_never_raises_for_a_store_that_is_away(database: FakeDatabase, clock: FakeClock) -> None:
    counters = FakeCounters()
    counters.failing = True
    async with make_cache(database, clock, counters=counters) as cache:
        assert await _check(cache, "acme")
        assert cache.stats()["limits"]["degraded"] is True


# What is going on.


async def test_stats_tell_what_happened(database: FakeDatabase, clock: FakeClock) -> None:
    database.put(row("acme", limit_per_minute=1))
    async with make_cache(database, clock) as cache:
        await _check(cache, "acme")
        await _check(cache, "acme")
        stats = cache.stats()
        assert stats["memory"]["tenants"] == 1
        assert stats["lookups"]["loads"] == 1
        assert stats["limits"]["takes"] == 2, "one that was granted, and one that found out that there is no more"
        assert stats["limits"]["denied"] == 1
        assert stats["freshness"]["following"] is True
        assert stats["freshness"]["valid"] is True
        assert stats["redis"]["configured"] is False


async def test_stats_work_before_and_after(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    before = cache.stats()
    async with cache:
        pass
    assert before["freshness"]["valid"] is False
    assert cache.stats()["freshness"]["following"] is False


async def test_a_reset_ends_a_denial_in_every_process(database_url: str, redis_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute) values ('t', 'T', 't', 5)"
    )
    await connection.close()
    settings = Settings(database_url=database_url, redis_url=redis_url, base_domains=["example.com"], limit_per_day=8)
    async with TenantCache(settings) as here, TenantCache(settings) as there:
        tenant = await here.resolve("t.example.com")
        assert tenant is not None
        await enough_of_a_minute(there)

        async def admitted() -> int:
            return sum([(await cache.check(tenant)).allowed for cache in (here, there) for _ in range(9)])

        assert await admitted() == 5
        assert (await here.peek(tenant))[0].remaining == 0
        await here.reset("t")
        await there.sync()
        assert (await there.peek(tenant))[0].remaining == 5
        assert await admitted() == 5
        with pytest.raises(UnknownTenantError, match="no tenant with the id 'nobody'"):
            await here.reset("nobody")


async def enough_of_a_minute(cache: TenantCache) -> None:
    """Wait for the next minute if this one ends within seconds."""
    while cache.server_now() % 60 > 50:
        await asyncio.sleep(0.2)
