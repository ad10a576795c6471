"""Members of sets, and fields of dicts: what a caller has committed is corrected here, and loaded again elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

import pytest

from tenantcache import NotOpenError, StoreUnavailableError, TenantCache
from tenantcache.values.members import MAX_MEMBERS, Member, MembersCodec
from tests.fakes import FakeClock, FakeDatabase, make_cache, row


class Table:
    """The application's rows. Its loader counts, and waits while `gate` is closed, after it has read."""

    def __init__(self, *members: Member) -> None:
        self.members: set[Member] | None = set(members)
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> Iterable[Member] | None:
        self.loads += 1
        found = None if self.members is None else set(self.members)
        await self.gate.wait()
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(clock, row("acme"), row("globex"))


@pytest.fixture
async def cache(database: FakeDatabase, clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(database, clock) as cache:
        yield cache


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def has(cache: TenantCache, table: Table, member: Member, **terms: Any) -> bool:
    return await cache.values.contains("team", member, table.load, tenant="acme", **({"ttl": 60} | terms))


async def test_one_load_answers_for_all_members(cache: TenantCache) -> None:
    table = Table("ann", "bob")
    assert [await has(cache, table, name) for name in ("ann", "bob", "cid")] == [True, True, False]
    assert table.loads == 1


async def test_numbers_and_uuids_are_the_texts_that_they_are_written_as(cache: TenantCache) -> None:
    some = UUID("6d1a2a5e-97a4-4c0b-9e6a-0d6d3a4f8a11")
    table = Table(42, "7", some)
    assert [await has(cache, table, member) for member in (42, "42", 7, "7", some, str(some))] == [True] * 6
    assert not await has(cache, table, 4)
    for wrong in (True, 1.5, None, b"x"):
        with pytest.raises(TypeError, match="cannot be a member"):
            await has(cache, table, wrong)  # type: ignore[arg-type]


async def test_what_is_added_and_removed_is_known_here_at_once(cache: TenantCache) -> None:
    table = Table("ann")
    assert not await has(cache, table, "bob")
    assert table.members is not None
    table.members.add("bob")
    table.gate.clear()  # nothing is loaded from here on
    await cache.values.add("team", "bob", tenant="acme")
    assert await has(cache, table, "bob")
    assert await has(cache, table, "ann")
    table.members -= {"ann", "bob"}
    table.gate.set()
    await settle()
    table.gate.clear()
    await cache.values.remove("team", "ann", "bob", tenant="acme")
    assert not await has(cache, table, "ann")
    assert not await has(cache, table, "bob")


async def test_it_is_loaded_again_at_the_first_hit(cache: TenantCache) -> None:
    """Another process may have committed too, and the log does not say which of the two came last."""
    table = Table("ann")
    await has(cache, table, "ann")
    assert table.members is not None
    table.members |= {"bob", "others"}
    await cache.values.add("team", "bob", tenant="acme")
    assert not await has(cache, table, "others")
    await settle()
    assert await has(cache, table, "others")
    assert table.loads == 2


async def test_it_is_not_served_for_longer_than_the_bound(cache: TenantCache, clock: FakeClock) -> None:
    """The bound counts from the instant up to which the set had every change, which was before the call."""
    table = Table("ann")
    await has(cache, table, "ann")
    clock.advance(2.0)
    await cache.values.add("team", "bob", tenant="acme")
    table.members = {"ann", "bob", "others"}
    clock.advance(1.5)
    assert await has(cache, table, "others")


async def test_several_adds_at_once_keep_each_other(cache: TenantCache) -> None:
    table = Table()
    await has(cache, table, "x")
    table.members = {f"m{number}" for number in range(10)}
    table.gate.clear()
    await asyncio.gather(*(cache.values.add("team", f"m{number}", tenant="acme") for number in range(10)))
    assert all([await has(cache, table, f"m{number}") for number in range(10)])


async def test_an_invalidation_meanwhile_is_not_forgotten(cache: TenantCache) -> None:
    table = Table("ann")
    await has(cache, table, "ann")
    table.members = {"bob"}
    await asyncio.gather(cache.values.add("team", "bob", tenant="acme"), cache.values.invalidate("team", tenant="acme"))
    assert not await has(cache, table, "ann")


async def test_what_was_invalidated_is_not_brought_back(cache: TenantCache) -> None:
    table = Table("ann")
    await has(cache, table, "ann")
    table.members = {"bob"}
    await cache.values.invalidate("team", tenant="acme")
    await cache.values.add("team", "bob", tenant="acme")
    assert not await has(cache, table, "ann")


async def test_a_load_that_began_before_does_not_take_it_back(cache: TenantCache) -> None:
    table = Table("ann")
    table.gate.clear()
    earlier = asyncio.create_task(has(cache, table, "bob"))
    await settle()
    table.members = {"ann", "bob"}
    await cache.values.add("team", "bob", tenant="acme")
    later = asyncio.create_task(has(cache, table, "bob"))
    await settle()
    table.gate.set()
    assert not await earlier
    assert await later
    assert await has(cache, table, "bob")


async def test_that_there_is_no_set_is_remembered_until_one_is_added(cache: TenantCache) -> None:
    table = Table()
    table.members = None
    assert [await has(cache, table, "ann"), await has(cache, table, "bob"), table.loads] == [False, False, 1]
    table.members = {"ann"}
    await cache.values.add("team", "ann", tenant="acme")
    assert await has(cache, table, "ann")


async def test_sets_of_tenants_are_apart(cache: TenantCache) -> None:
    acme, globex = Table("ann"), Table("bob")
    await has(cache, acme, "ann")
    assert await cache.values.contains("team", "bob", globex.load, tenant="globex", ttl=60)
    await cache.values.add("team", "cid", tenant="globex")
    assert not await has(cache, acme, "cid")


async def test_if_others_cannot_be_told_that_is_an_error(cache: TenantCache, database: FakeDatabase) -> None:
    table = Table("ann")
    await has(cache, table, "ann")
    table.members = {"ann", "bob"}
    database.failing = True
    with pytest.raises(StoreUnavailableError):
        await cache.values.add("team", "bob", tenant="acme")
    assert await has(cache, table, "bob")  # it was committed


async def test_it_must_be_open(database: FakeDatabase, clock: FakeClock) -> None:
    cache = make_cache(database, clock)
    for call in (
        cache.values.add("team", "ann", tenant="acme"),
        cache.values.remove("team", "ann", tenant="acme"),
        cache.values.set_fields("user", {"name": "Ann"}, tenant="acme"),
        cache.values.write_later("seen", 1, Table.load, tenant="acme"),  # type: ignore[arg-type]
        cache.values.flush_writes(),
    ):
        with pytest.raises(NotOpenError):
            await call


async def test_too_many_members_are_refused(cache: TenantCache) -> None:
    table = Table(*range(MAX_MEMBERS))
    assert await has(cache, table, MAX_MEMBERS - 1)
    await cache.values.invalidate("team", tenant="acme")
    table.members = set(range(100_000))
    with pytest.raises(ValueError, match="100000 members are too many for one set, at most 50000"):
        await has(cache, table, 1)


async def test_members_that_memory_cannot_hold_are_refused(database: FakeDatabase, clock: FakeClock) -> None:
    async with make_cache(database, clock, values_max_bytes=100_000) as cache:
        with pytest.raises(ValueError, match=r"take 103.. bytes, and one value may take 10000: raise TENANTCACHE_"):
            await has(cache, Table(*range(90)), 1)
        assert await has(cache, Table(*range(50)), 1)


def test_what_is_not_a_list_of_texts_is_no_copy() -> None:
    codec = MembersCodec()
    assert codec.decode(codec.encode({"a", "b"})) == {"a", "b"}
    for body in (b"{}", b"[1]", b"null", b"\xff"):
        with pytest.raises(ValueError):
            codec.decode(body)


async def test_a_loader_of_one_text_is_a_mistake(cache: TenantCache) -> None:
    async def load() -> str:
        return "abc"

    with pytest.raises(TypeError, match="'abc' is one text"):
        await cache.values.contains("team", "a", load, tenant="acme", ttl=60)


# Fields.


class User:
    def __init__(self, **fields: Any) -> None:
        self.fields, self.loads = fields, 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> dict[str, Any]:
        self.loads += 1
        found = dict(self.fields)
        await self.gate.wait()
        return found


async def user(cache: TenantCache, found: User) -> Any:
    return await cache.values.get_or_load("user:1", found.load, tenant="acme", ttl=60)


async def test_fields_that_were_committed_are_known_here_at_once(cache: TenantCache) -> None:
    ann = User(name="Ann", age=30)
    assert await user(cache, ann) == {"name": "Ann", "age": 30}
    ann.fields["age"] = 31
    ann.gate.clear()
    await cache.values.set_fields("user:1", {"age": 31}, tenant="acme")
    assert await user(cache, ann) == {"name": "Ann", "age": 31}
    ann.fields["name"] = "Anna"
    ann.gate.set()
    await settle()
    assert ann.loads == 2


async def test_fields_of_what_is_not_held_or_no_dict_are_loaded(cache: TenantCache) -> None:
    ann = User(name="Ann")
    await cache.values.set_fields("user:1", {"name": "Ann"}, tenant="acme")
    assert await user(cache, ann) == {"name": "Ann"}

    async def load() -> list[int]:
        return [1, 2]

    for _ in range(2):
        assert await cache.values.get_or_load("list", load, tenant="acme", ttl=60) == [1, 2]
        await cache.values.set_fields("list", {"x": 1}, tenant="acme")


async def test_a_field_that_cannot_be_stored_is_said_at_once(cache: TenantCache) -> None:
    ann = User(name="Ann")
    await user(cache, ann)
    with pytest.raises(TypeError):
        await cache.values.set_fields("user:1", {"name": object()}, tenant="acme")
    assert await user(cache, ann) == {"name": "Ann"}
