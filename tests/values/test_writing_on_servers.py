"""Values that are written later, and members of sets, by two engines on a real Postgres and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tenantcache import Settings, TenantCache, WriteBatch, WriteBehind
from tests.fakes import until
from tests.servers.billing import BilledCommands

pytestmark = pytest.mark.usefixtures("patience")

TABLES = """
create table public.seen (tenant_id text, key text, at integer not null, primary key (tenant_id, key));
create table public.members (tenant_id text, team text, name text, primary key (tenant_id, team, name));
"""


class Application:
    """A process: its engine, its connections, and what it does with its tables."""

    def __init__(self, cache: TenantCache, pool: asyncpg.Pool) -> None:
        self.values, self._pool = cache.values, pool
        self.loads = 0
        self.save = WriteBehind(self.save_seen, delay=60)

    async def save_seen(self, batch: WriteBatch[int]) -> None:
        await self._pool.executemany(
            "insert into public.seen values ($1, $2, $3) on conflict (tenant_id, key) do update set at = $3",
            [(batch.tenant_id, key, at) for key, at in batch.items()],
        )

    async def seen(self, key: str) -> Any:
        async def load() -> Any:
            return await self._pool.fetchval("select at from public.seen where tenant_id = 'acme' and key = $1", key)

        return await self.values.get_or_load(key, load, tenant="acme", ttl=3600)

    async def load_members(self) -> list[str]:
        self.loads += 1
        rows = await self._pool.fetch("select name from public.members where tenant_id = 'acme' and team = 'all'")
        return [row["name"] for row in rows]

    async def join(self, name: str) -> None:
        await self._pool.execute("insert into public.members values ('acme', 'all', $1)", name)
        await self.values.add("team:all", name, tenant="acme")

    async def leave(self, name: str) -> None:
        await self._pool.execute("delete from public.members where name = $1", name)
        await self.values.remove("team:all", name, tenant="acme")

    async def has(self, name: str) -> bool:
        return await self.values.contains("team:all", name, self.load_members, tenant="acme", ttl=3600)

    async def agrees(self, name: str, expected: bool) -> None:
        for _ in range(6_000):
            if await self.has(name) is expected:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{name} is {not expected} still")


@pytest.fixture
async def two(database_url: str, redis_url: str) -> AsyncIterator[tuple[Application, Application]]:
    # The log vouches for memory, and so for copies in Redis, for longer than a busy machine stands still.
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        redis_pricing="flat",
        warm_up=False,
        usage_interval=0,
        max_staleness=60,
    )
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool,
        TenantCache(settings) as one,
        TenantCache(settings) as other,
    ):
        await pool.execute(TABLES)
        yield Application(one, pool), Application(other, pool)


async def test_others_see_it_after_its_batch_which_costs_one_entry_of_the_log(
    two: tuple[Application, Application], billed_commands: BilledCommands
) -> None:
    one, other = two
    keys = [f"user:{number}" for number in range(50)]
    for key in keys:
        assert [await one.seen(key), await other.seen(key)] == [None, None]
    billed_commands.reset()
    for at in (1, 2, 3):
        for key in keys:
            await one.values.write_later(key, at, one.save, tenant="acme")
            assert await one.seen(key) == at
        assert await other.seen(keys[0]) is None
    entries = one.values.parts.freshness.applied
    await one.values.flush_writes()
    assert one.values.parts.freshness.applied == entries + 1
    assert billed_commands.by_command() == {}
    assert {key: await one.seen(key) for key in keys} == dict.fromkeys(keys, 3)
    await until(lambda: other.values.parts.freshness.applied > entries)
    assert {key: await other.seen(key) for key in keys} == dict.fromkeys(keys, 3)


async def test_an_engine_writes_what_waits_before_it_closes(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        await pool.execute(TABLES)
        async with TenantCache(Settings(database_url=database_url, warm_up=False)) as cache:
            application = Application(cache, pool)
            await cache.values.write_later("a", 7, WriteBehind(application.save_seen, delay=60), tenant="acme")
        assert await pool.fetchval("select at from public.seen") == 7
        # It is told of, too. The engine follows the log no more, so another process may have to publish it.
        told = "select hosts from tenantcache.change_log union all select hosts from tenantcache.outbox"
        assert ["value:acme:a"] in [row["hosts"] for row in await pool.fetch(told)]


async def test_members_that_two_processes_add_at_once_are_kept(two: tuple[Application, Application]) -> None:
    for process in two:
        assert not await process.has("ann")

    async def add(process: Application, side: int) -> None:
        for number in range(20):
            await process.join(f"{side}:{number}")
            assert await process.has(f"{side}:{number}")
            await asyncio.sleep(0.002)

    await asyncio.gather(*(add(process, side) for side, process in enumerate(two)))
    names = [f"{side}:{number}" for side in range(2) for number in range(20)]
    for process in two:
        for name in names:
            await process.agrees(name, True)
    await two[0].leave("0:0")
    assert not await two[0].has("0:0")
    await two[1].agrees("0:0", False)
    assert await two[1].has("0:1")


async def test_a_member_costs_at_most_one_command_and_then_none(
    two: tuple[Application, Application], billed_commands: BilledCommands
) -> None:
    one, other = two
    await one.join("ann")
    entry = one.values.parts.freshness.applied
    # Only then may what it loads be shared: it could read the row before the entry that tells of it.
    await until(lambda: other.values.parts.freshness.applied >= entry)
    await other.agrees("ann", True)
    await until(lambda: not other.values.parts.sharing.is_writing)
    billed_commands.reset()
    assert await one.has("ann")
    assert billed_commands.by_command() == {"get": 1}
    billed_commands.reset()
    for number in range(100):
        assert not await one.has(f"no:{number}")
    await one.join("bob")
    await one.leave("bob")
    assert billed_commands.by_command() == {}
    assert one.loads == 0
