"""The row that a fleet agrees on, in a real Postgres: who may change it, when that begins, what a pull may believe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from math import ceil

import asyncpg
import pytest

from tenantcache.core.storechoice import NOTICE, Proposal, StoreChoice
from tenantcache.core.windows import Debit, Window
from tenantcache.stores.base import Pull
from tenantcache.stores.choices import PostgresChoices
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresLog, PostgresTenants

DAY = Window("day", 20_000)


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresTenants]:
    postgres = PostgresTenants(database_url, timeout=5.0)
    await postgres.open()
    yield postgres
    await postgres.close()


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    log = PostgresLog(database_url, timeout=5.0)
    await log.open(lambda: None)
    yield log
    await log.close()


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def read(log: PostgresLog) -> tuple[StoreChoice, Pull]:
    pull = await log.tail(10, 10)
    assert pull.choice is not None
    return pull.choice, pull


def proposal(version: int, store: str, quiet: float = 60.0) -> Proposal:
    return Proposal(version, "redis" if store == "redis" else "postgres", f"to {store}", quiet)


async def begin_now(admin: asyncpg.Connection) -> None:
    """As if the minute that was agreed on had come."""
    await admin.execute("update tenantcache.counter_store set from_minute = 0")


async def test_nobody_has_chosen_at_first_and_the_first_choice_holds_at_once(
    postgres: PostgresTenants, log: PostgresLog
) -> None:
    assert (await read(log))[0].store is None
    assert await PostgresChoices(postgres).choose(proposal(0, "redis"))
    choice, _ = await read(log)
    assert (choice.version, choice.store, choice.from_minute, choice.previous) == (1, "redis", 0, None)


async def test_a_change_begins_with_a_minute_that_is_the_notice_away(
    postgres: PostgresTenants, log: PostgresLog
) -> None:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "redis"))
    before = time.time()
    assert await choices.choose(proposal(1, "postgres"))
    after = time.time()
    choice, _ = await read(log)
    assert ceil((before + 5) / 60) <= choice.from_minute <= ceil((after + 5) / 60)
    assert (choice.version, choice.store, choice.previous, choice.previous_from) == (2, "postgres", "redis", 0)
    assert choice.why == "to postgres"
    assert before <= choice.changed_at <= after
    assert before <= choice.complained_at <= after  # to leave Redis is to complain


async def test_a_pull_settles_the_notice_of_the_schema_and_of_the_core(log: PostgresLog) -> None:
    before = time.time()
    _, pull = await read(log)
    assert pull.settled_until is not None
    assert before + NOTICE <= pull.settled_until <= pull.server_time + NOTICE


async def test_of_several_who_change_it_at_once_one_does(postgres: PostgresTenants) -> None:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "redis"))
    done = await asyncio.gather(*(choices.choose(proposal(1, "postgres")) for _ in range(10)))
    assert done.count(True) == 1


async def test_no_change_is_made_before_the_last_one_has_begun(
    postgres: PostgresTenants, admin: asyncpg.Connection
) -> None:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "postgres"))
    await choices.choose(proposal(1, "redis"))
    assert not await choices.choose(proposal(2, "postgres"))
    await begin_now(admin)
    assert await choices.choose(proposal(2, "postgres"))


async def test_nobody_goes_back_to_redis_while_somebody_complains(
    postgres: PostgresTenants, admin: asyncpg.Connection
) -> None:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "postgres"))
    await choices.complain()
    assert not await choices.choose(proposal(1, "redis", quiet=60))
    await admin.execute("update tenantcache.counter_store set complained_at = complained_at - interval '30 seconds'")
    assert not await choices.choose(proposal(1, "redis", quiet=60))
    await admin.execute("update tenantcache.counter_store set complained_at = complained_at - interval '30 seconds'")
    assert await choices.choose(proposal(1, "redis", quiet=60))
    # From Redis to Redis, after its counters were lost, is no way back.
    await begin_now(admin)
    await choices.complain()
    assert await choices.choose(proposal(2, "redis"))


async def test_a_pull_that_meets_a_change_in_the_making_settles_nothing(
    postgres: PostgresTenants, log: PostgresLog, admin: asyncpg.Connection
) -> None:
    """The commit may take as long as it likes: whoever pulls meanwhile knows that it does not know."""
    await PostgresChoices(postgres).choose(proposal(0, "redis"))
    async with admin.transaction():
        await admin.execute("select tenantcache.choose_counter_store(1, 'postgres', 'slowly', 60)")
        choice, pull = await read(log)
        assert choice.version == 1
        assert pull.settled_until is None
    choice, pull = await read(log)
    assert choice.version == 2
    assert pull.settled_until is not None


async def test_a_change_wakes_whoever_listens(database_url: str, postgres: PostgresTenants) -> None:
    woken = asyncio.Event()
    log = PostgresLog(database_url, timeout=5.0)
    await log.open(woken.set)
    await PostgresChoices(postgres).choose(proposal(0, "redis"))
    async with asyncio.timeout(5):
        await woken.wait()
    await log.close()


async def test_what_redis_has_counted_raises_a_day_and_never_lowers_it(postgres: PostgresTenants) -> None:
    choices, counters = PostgresChoices(postgres), PostgresCounters(postgres)
    await choices.mirror({("acme", DAY.number): 40, ("globex", DAY.number): 7})
    await choices.mirror({("acme", DAY.number): 30})
    assert await counters.debit("acme", [Debit(DAY, 5)]) == [45]
    assert await counters.debit("globex", [Debit(DAY, 0)]) == [7]
