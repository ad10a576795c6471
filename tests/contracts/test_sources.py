"""`TenantStore`, `HostSource` and `RowSource`, on a real Postgres and in memory."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from tenantcache.admin.usagestore import UsageRow
from tenantcache.freshness.core.logmark import LogMark
from tests.contracts.worlds import World

PROCESS = UUID(int=1)
ALIASES = ["subdomain:acme", "domain:acme.io", "domain:shop.acme.io", "subdomain:globex", "domain:nameless.example"]


@pytest.fixture(autouse=True)
async def tenants(world: World) -> None:
    await world.create(
        "acme",
        ["shop.acme.io", "acme.io"],
        "shop.acme.io",
        name="Acme",
        plan="pro",
        limit_per_minute=5,
        attributes={"colour": "red"},
    )
    await world.create("globex")
    await world.create("nameless", ["nameless.example"], subdomain=None)


class TestReading:
    async def test_a_tenant_under_each_alias(self, world: World) -> None:
        aliases = ["subdomain:acme", "domain:acme.io", "id:acme"]
        expected = {
            "id": "acme",
            "name": "Acme",
            "subdomain": "acme",
            "domains": ["acme.io", "shop.acme.io"],
            "primary_domain": "shop.acme.io",
            "status": "active",
            "plan": "pro",
            "limit_per_minute": 5,
            "limit_per_day": None,
            "time_zone": None,
            "attributes": {"colour": "red"},
        }
        assert (await world.tenants.read(aliases)).rows == dict.fromkeys(aliases, expected)

    async def test_what_is_not_there_is_none(self, world: World) -> None:
        aliases = ["subdomain:unknown", "domain:acme", "id:shop.acme.io", "subdomain:", "name:acme:acme"]
        snapshot = await world.tenants.read(aliases)
        assert snapshot.rows == dict.fromkeys(aliases)
        assert not snapshot.unknown

    async def test_a_read_has_the_logs_newest_entry_whatever_it_finds(self, world: World) -> None:
        for alias in ("id:acme", "id:unknown"):
            pull = await world.log.tail(0, 1)
            snapshot = await world.tenants.read([alias])
            assert (snapshot.mark, snapshot.epoch, snapshot.pending) == (pull.head, pull.epoch, False)
            await world.rename("acme", "New")

    async def test_of_what_was_renamed_only_the_new_name_leads_there(self, world: World) -> None:
        await world.registry.update("acme", {"subdomain": "new"})
        found = (await world.tenants.read(["subdomain:acme", "subdomain:new"])).rows
        assert [row and row["id"] for row in found.values()] == [None, "acme"]

    async def test_a_logged_change_names_tenant_and_aliases(self, world: World) -> None:
        mark = await world.head()
        await world.tenants.log_change("acme", ["subdomain:acme", "domain:acme.io"])
        await world.publish()
        entries = (await world.log.pull(mark, 100, 100)).entries
        assert [(entry.tenant_id, set(entry.aliases or ())) for entry in entries] == [
            ("acme", {"subdomain:acme", "domain:acme.io"})
        ]


class TestStreamingAliases:
    async def test_every_alias_by_host_once(self, world: World) -> None:
        pull = await world.log.tail(0, 1)
        async with world.hosts.stream_aliases(100) as stream:
            found = [alias async for batch in stream.batches for alias in batch]
        assert sorted(found) == sorted(ALIASES)
        assert (stream.count, stream.mark, stream.epoch, stream.pending) == (5, pull.head, pull.epoch, False)

    async def test_batches_are_as_large_as_they_may_be(self, world: World) -> None:
        async with world.hosts.stream_aliases(2) as stream:
            assert [len(batch) async for batch in stream.batches] == [2, 2, 1]

    async def test_what_comes_later_is_not_in_it(self, world: World) -> None:
        async with world.hosts.stream_aliases(2) as stream:
            mark = stream.mark
            await world.create("late")
            found = [alias async for batch in stream.batches for alias in batch]
        assert sorted(found) == sorted(ALIASES)
        assert mark.seq < (await world.head()).seq


class TestStreamingRows:
    @pytest.fixture(autouse=True)
    async def seen(self, world: World) -> None:
        now = time.time()
        today = int(now) // 86_400
        ago = {"acme": 60.0, "nameless": 30.0, "deleted long since": 10.0}
        rows = [UsageRow(tenant_id, today, 1, now - seconds) for tenant_id, seconds in ago.items()]
        await world.usage.add(PROCESS, 1, rows)

    @pytest.mark.parametrize("most", [1, 2, 3, 100])
    async def test_those_that_were_seen_last_come_first(self, world: World, most: int) -> None:
        pull = await world.log.tail(0, 1)
        async with world.rows.stream_rows(100, most) as stream:
            found = [row async for batch in stream.batches for row, _ in batch]
        assert [row["id"] for row in found] == ["nameless", "acme", "globex"][:most]
        assert found[0] == await world.find("id:nameless")
        assert (stream.mark, stream.epoch, stream.pending) == (pull.head, pull.epoch, False)

    async def test_batches_are_no_larger_than_they_may_be(self, world: World) -> None:
        async with world.rows.stream_rows(2, 100) as stream:
            assert [len(batch) async for batch in stream.batches] == [2, 1]

    async def test_what_comes_later_is_not_in_it(self, world: World) -> None:
        async with world.rows.stream_rows(1, 100) as stream:
            await world.rename("globex", "Later")
            await world.registry.delete("acme")
            found = [row["name"] async for batch in stream.batches for row, _ in batch]
        assert found == ["nameless", "Acme", "globex"]


async def test_marks_are_plain(world: World) -> None:
    """They are compared with each other: an entry would differ from its own mark."""
    assert type((await world.tenants.read(["id:acme"])).mark) is LogMark
