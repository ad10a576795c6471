"""docs/costs.md: each figure of its table of operations is what a real Redis counts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tenantcache import Budget, Limits, Settings, Tenant, TenantCache
from tenantcache.budget.core.forecast import Forecast
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.slots import MemorySlots
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.stores.rediscounters import RedisCounters
from tenantcache.testing import MemoryCache
from tests.fakes import until
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.settling import settle

pytestmark = pytest.mark.usefixtures("patience")

PAGE = (Path(__file__).parents[1] / "docs" / "costs.md").read_text(encoding="utf-8")
[TABLE] = re.findall(r"^## The price of each operation\n(.*?)^What lies behind", PAGE, re.MULTILINE | re.DOTALL)
TOLD = {name: int(figure) for name, figure in re.findall(r"^\| (.+?) \| (\d+) \|$", TABLE, re.MULTILINE)}

TENANTS = [f"t{number}" for number in range(2_000)]

QUIET = 1.2
"""Seconds: more than what an engine does by itself takes to come round."""


@pytest.fixture
async def url(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain, limit_per_minute, limit_per_day)"
        " select 't' || n, 't', 't' || n, 5, 100000 from generate_series(0, 1999) n"
    )
    await connection.close()
    return database_url


class Bench:
    """An engine, whose operations are measured one by one."""

    def __init__(self, cache: TenantCache, billed: BilledCommands) -> None:
        self.cache, self._billed = cache, billed

    async def cost(self, operation: Callable[[], Awaitable[object]]) -> int:
        self._billed.reset()
        await operation()
        await self.settle()
        return self._billed.total()

    async def settle(self) -> None:
        """Wait for what goes on in the background."""
        await settle(self.cache)

    async def tenant(self, name: str = "t0") -> Tenant:
        found = await self.cache.resolve(f"{name}.localhost")
        assert found is not None
        await self.settle()
        return found


@asynccontextmanager
async def engine(url: str, redis_url: str, billed: BilledCommands, **settings: Any) -> AsyncIterator[Bench]:
    values: dict[str, Any] = {"warm_up": False, "host_index_max_hosts": 0, "negative_ttl": 60.0} | settings
    async with TenantCache(Settings(database_url=url, redis_url=redis_url, **values)) as cache:
        yield Bench(cache, billed)


async def test_lookups(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with engine(url, redis_url, billed_commands) as bench:
        cold = await bench.cost(lambda: bench.cache.resolve("t0.localhost"))
        await bench.cache.get_many(TENANTS[:20])
        await bench.settle()
        hot = await bench.cost(lambda: bench.cache.resolve("t0.localhost"))
    async with engine(url, redis_url, billed_commands) as bench:
        warm = await bench.cost(lambda: bench.cache.resolve("t0.localhost"))
        many = await bench.cost(lambda: bench.cache.get_many(TENANTS[:20]))
    assert hot == 0
    assert cold == TOLD["lookup of a tenant that Redis does not have"]
    assert warm == TOLD["lookup of a tenant that Redis has"]
    assert many == TOLD["lookup of 20 tenants by id that Redis has"]


async def test_opening_and_rest(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    billed_commands.reset()
    async with engine(url, redis_url, billed_commands) as bench:
        link = bench.cache._parts.stores.link
        assert link is not None
        await link._redis.connection_pool.disconnect(inuse_connections=False)
        await link.ping()
        assert billed_commands.total() == TOLD["open an engine, or connect anew"]
        rest = await bench.cost(lambda: asyncio.sleep(QUIET))
        assert rest == TOLD["an engine that rests, for each minute"]


async def test_unknown_hosts(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with engine(url, redis_url, billed_commands, host_index_max_hosts=10_000) as bench:
        await until(lambda: bench.cache.indexer.is_ready)
        unknown = await bench.cost(lambda: bench.cache.resolve("nobody.localhost"))
        assert unknown == TOLD["a request of an unknown host"]


async def test_changes(url: str, redis_url: str, billed_commands: BilledCommands) -> None:
    async with engine(url, redis_url, billed_commands) as bench, engine(url, redis_url, billed_commands) as other:
        cache, tenant = bench.cache, await bench.tenant()
        await other.tenant()
        connection = await asyncpg.connect(url)

        async def change() -> None:
            await connection.execute("update tenantcache.tenants set name = 'other' where id = 't0'")
            await cache.sync()
            await other.cache.sync()

        assert await bench.cost(change) == TOLD["a change of a tenant in Postgres, in all processes"]
        await connection.close()
        update = await bench.cost(lambda: cache.tenants.update("t0", name="third"))
        assert update == TOLD["`cache.tenants.update` of a tenant with one host"]
        assert await bench.cost(lambda: cache.invalidate("t0")) == TOLD["`cache.invalidate`"]

        async def look() -> None:
            await cache.sync()
            cache.stats(), cache.budget, cache.quotas(tenant), cache.refund(tenant)

        free = "`cache.sync`, `cache.stats`, `cache.budget`, `cache.quotas`, `cache.refund`"
        assert await bench.cost(look) == TOLD[free]


def test_the_page_has_each_attribute_of_the_budget() -> None:
    [rows] = re.findall(r"^\| attribute \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    listed = {name for row in rows.split("\n") if row for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == {field.name for field in fields(Budget)} | {"share"}
    [forecast] = re.findall(r"^\| `forecast` \| (.*) \|$", rows, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", forecast)) == {field.name for field in fields(Forecast)}


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {"cache": MemoryCache(redis_monthly_budget=500_000)})
    assert capsys.readouterr().out.splitlines() == [
        "0 of 500,000 commands, $0.00",
        "at the end of the period: 0 to 0",
    ]


def test_each_row_is_measured() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(TOLD) > 20
    assert [name for name in TOLD if f'"{name}"' not in source] == []


# Limits, at a time of their own: takes depend on how far the minute and the quarter of an hour have gone.

START = 20_000 * 86_400 + 7 * 60.0
"""Seven minutes after a midnight."""

MINUTE, DAY = Window("minute", int(START // 60)), Window("day", 20_000)
NEXT_QUARTER = Window("minute", MINUTE.number + 15)


@asynccontextmanager
async def limiter(redis_url: str) -> AsyncIterator[Limiter]:
    link = RedisLink(redis_url)
    counters = RedisCounters(link, prefix="test")
    yield Limiter(counters, MemorySlots(), server_now=lambda: START, processes=lambda: 1)
    await counters.close()
    await link.close()


async def cost_of(limiter: Limiter, billed: BilledCommands, operation: Awaitable[object]) -> int:
    billed.reset()
    await operation
    await limiter._meters.groups.finish()
    counters: Any = limiter._store
    await counters.close()
    return billed.total()


async def test_a_start_and_a_stop(redis_url: str, billed_commands: BilledCommands) -> None:
    tenants = [Tenant(name, name, limits=Limits(600, 100_000)) for name in TENANTS]
    async with limiter(redis_url) as limits:
        start = await cost_of(limits, billed_commands, limits.warm(tenants))
        request = await cost_of(limits, billed_commands, limits.check(tenants[0]))
        stop = await cost_of(limits, billed_commands, limits.close())
    assert start == TOLD["first tokens of 2,000 tenants at a start"]
    assert request == TOLD["a request of a tenant in memory, within its lease"]
    assert stop == TOLD["unused tokens of 2,000 tenants that go back at a stop"]


async def test_reads_and_resets_of_limits(redis_url: str, billed_commands: BilledCommands) -> None:
    tenant = Tenant("t0", "t0", limits=Limits(3, 100_000))
    async with limiter(redis_url) as limits:
        while (await limits.check(tenant)).allowed:
            pass
        refused = await cost_of(limits, billed_commands, limits.check(tenant))
        peek = await cost_of(limits, billed_commands, limits.peek(tenant))
        reset = await cost_of(limits, billed_commands, limits.reset(tenant, []))
        named = await cost_of(limits, billed_commands, limits.check_named(tenant, "login", Limits(5, None)))
    assert refused == TOLD["a request that is refused because a limit is used up"]
    assert peek == TOLD["`cache.peek`"]
    assert reset == TOLD["`cache.reset`"]
    assert named == TOLD["the first `cache.check_named` of a quarter of an hour"]


async def test_takes(redis_url: str, billed_commands: BilledCommands) -> None:
    link = RedisLink(redis_url)
    counters = RedisCounters(link, prefix="test")

    async def take(*windows: Window) -> int:
        billed_commands.reset()
        await counters.debit([AccountDebits(Account(f"t{n}", n), [Debit(w, 1) for w in windows]) for n in range(9)])
        await counters.close()
        return billed_commands.total()

    assert (
        await take(MINUTE, DAY)
        == TOLD["first take of a group of up to 2,048 tenants in a quarter of an hour, the first of the day"]
    )
    assert await take(NEXT_QUARTER) == TOLD["first take of a group in another quarter of an hour"]
    assert await take(NEXT_QUARTER) == TOLD["a later take of the group, of minutes alone"]
    billed_commands.reset()
    await link.try_to_count()
    assert billed_commands.total() == TOLD["a look whether Redis counts again after an outage"]
    await link.close()


async def test_a_cluster(redis_cluster: RedisCluster) -> None:
    link = RedisLink(redis_cluster.url)
    await link.open()
    copies = RedisCopies(link, prefix="test", ttl=60)
    await copies.put("subdomain:t0", b"x")
    assert redis_cluster.billed() - 1 == TOLD["learning the nodes of a cluster"]
    aliases = [f"subdomain:{name}" for name in TENANTS[:20]]
    with redis_cluster.client_of(redis_cluster.servers[0]) as client:
        slots = {client.execute_command("CLUSTER KEYSLOT", f"test:tenant:{alias}") for alias in aliases}
        redis_cluster.on_each_master("CONFIG", "RESETSTAT")
        await copies.get_many(aliases)
        assert redis_cluster.billed() == len(slots) * TOLD["the same on a cluster, for each of their slots"]
    await link.close()
