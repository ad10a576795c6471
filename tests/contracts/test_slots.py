"""`Slots`, in memory and in a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantcache.errors import StoreError
from tenantcache.ratelimit.slots import MemorySlots, Slots
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.slots import PAGE, PostgresSlots


@pytest.fixture
async def postgres(shared_database_url: str) -> AsyncIterator[PostgresTenants]:
    postgres = PostgresTenants(shared_database_url, timeout=10.0)
    await postgres.open()
    await postgres.fetch("emptying the slots", "truncate tenantcache.counter_slots")
    yield postgres
    await postgres.close()


@pytest.fixture(params=["memory", "postgres"])
def slots(request: pytest.FixtureRequest) -> Slots:
    return MemorySlots() if request.param == "memory" else PostgresSlots(request.getfixturevalue("postgres"))


def owners(*numbers: int) -> list[str]:
    return [f"t{number}" for number in numbers]


async def test_numbers_are_dense_and_kept(slots: Slots) -> None:
    assert await slots.assign(owners(5, 3, 4)) == [0, 1, 2]
    assert await slots.assign(owners(4, 6, 5)) == [2, 3, 0]
    assert await slots.assign(owners(6, 4, 3, 5, 7)) == [3, 2, 1, 0, 4]


async def test_of_nothing(slots: Slots) -> None:
    assert await slots.assign([]) == []


async def test_an_owner_that_is_asked_for_twice_has_one(slots: Slots) -> None:
    assert await slots.assign(["a", "b", "a", "b", "c"]) == [0, 1, 0, 1, 2]


async def test_owners_are_told_apart_by_every_letter(slots: Slots) -> None:
    names = ["acme", "ACME", "acme ", "", "ünï", "acme\x1fexports", "{acme}", "null"]
    assert await slots.assign(names) == list(range(8))
    assert await slots.assign(names[::-1]) == list(range(8))[::-1]


async def test_more_than_one_statement_may_have(slots: Slots) -> None:
    many = [f"t{number}" for number in range(2 * PAGE + 1)]
    assert await slots.assign(many) == list(range(2 * PAGE + 1))
    assert await slots.assign(many[::-1]) == list(range(2 * PAGE + 1))[::-1]


async def test_callers_at_once_are_told_the_same_and_no_two_owners_have_one(slots: Slots) -> None:
    """Overlapping, in opposite orders."""
    asked = [owners(*range(start, start + 60))[:: (-1) ** start] for start in range(0, 200, 7)]
    found = await asyncio.gather(*map(slots.assign, asked))
    told: dict[str, set[int]] = {}
    for names, numbers in zip(asked, found, strict=True):
        for name, number in zip(names, numbers, strict=True):
            told.setdefault(name, set()).add(number)
    assert all(len(numbers) == 1 for numbers in told.values())
    assert sorted(number for numbers in told.values() for number in numbers) == list(range(len(told)))


async def last_used(postgres: PostgresTenants, days_ago: int, *names: str) -> None:
    await postgres.fetch(
        "making slots older",
        "update tenantcache.counter_slots set used_on = (now() at time zone 'utc')::date - $1::int"
        " where owner = any ($2)",
        days_ago,
        names,
    )


async def ages(postgres: PostgresTenants) -> dict[str, int]:
    rows = await postgres.fetch(
        "reading slots", "select owner, (now() at time zone 'utc')::date - used_on from tenantcache.counter_slots"
    )
    return {row[0]: row[1] for row in rows}


async def test_what_was_not_asked_for_in_30_days_goes_to_new_owners_oldest_first(postgres: PostgresTenants) -> None:
    slots = PostgresSlots(postgres)
    await slots.assign(owners(0, 1, 2, 3, 4))
    await last_used(postgres, 31, "t3")
    await last_used(postgres, 40, "t1")
    await last_used(postgres, 30, "t2")
    await last_used(postgres, 31, "t4")
    assert await slots.assign(["new", "t4"]) == [1, 4], "t4 was asked for before its slot was given away"
    assert await slots.assign(["newer", "newest", "t1"]) == [3, 5, 6]
    assert await slots.assign(["t3", "t2", "new"]) == [7, 2, 1]


async def test_use_is_written_down_once_a_week(postgres: PostgresTenants) -> None:
    slots = PostgresSlots(postgres)
    await slots.assign(owners(0, 1, 2))
    await last_used(postgres, 6, "t0")
    await last_used(postgres, 7, "t1", "t2")
    await slots.assign(owners(0, 1))
    assert await ages(postgres) == {"t0": 6, "t1": 0, "t2": 7}


async def test_nothing_is_locked_or_written_if_all_have_one(
    postgres: PostgresTenants, shared_database_url: str
) -> None:
    slots = PostgresSlots(postgres)
    await slots.assign(owners(0, 1))
    admin = await asyncpg.connect(shared_database_url)
    try:
        async with admin.transaction():
            await admin.execute("lock table tenantcache.counter_slots in share row exclusive mode")
            assert await slots.assign(owners(1, 0)) == [1, 0]
            waiting = asyncio.create_task(slots.assign(owners(0, 2)))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            assert await slots.assign(owners(0)) == [0], "readers do not wait for one that writes"
        assert await waiting == [0, 2]
        async with admin.transaction(readonly=True):
            assert await admin.fetchval("select tenantcache.assign_slots($1)", owners(2, 1)) == [2, 1]
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await admin.fetchval("select tenantcache.assign_slots($1)", owners(3))
    finally:
        await admin.close()


async def test_a_role_that_may_only_read_is_told_what_there_is(
    postgres: PostgresTenants, shared_database_url: str
) -> None:
    """Even if it should be written down that they are used."""
    await PostgresSlots(postgres).assign(owners(0, 1))
    await last_used(postgres, 10, "t0", "t1")
    admin = await asyncpg.connect(shared_database_url)
    try:
        await admin.execute("""
            create role slots_reader login;
            grant usage on schema tenantcache to slots_reader;
            grant select on tenantcache.counter_slots to slots_reader;
            grant execute on function tenantcache.assign_slots(text[]) to slots_reader;
            grant execute on procedure tenantcache.add_slots(text[], date) to slots_reader;
        """)
        reader = PostgresTenants(shared_database_url.replace("://postgres@", "://slots_reader@"), timeout=5.0)
        await reader.open()
        assert await PostgresSlots(reader).assign(owners(1, 0)) == [1, 0]
        with pytest.raises(StoreError, match=r"does not let this user do that.*counter_slots.*grant it"):
            await PostgresSlots(reader).assign(owners(0, 2))
        await reader.close()
        assert await ages(postgres) == {"t0": 10, "t1": 10}
    finally:
        await admin.execute("drop owned by slots_reader; drop role slots_reader")
        await admin.close()


async def test_where_nothing_can_be_written_it_is_said(postgres: PostgresTenants, shared_database_url: str) -> None:
    await PostgresSlots(postgres).assign(owners(0))
    await last_used(postgres, 10, "t0")
    reader = PostgresTenants(shared_database_url + "?default_transaction_read_only=on", timeout=5.0)
    await reader.open()
    assert await PostgresSlots(reader).assign(owners(0)) == [0]
    with pytest.raises(StoreError, match="takes no writes"):
        await PostgresSlots(reader).assign(owners(0, 2))
    await reader.close()
