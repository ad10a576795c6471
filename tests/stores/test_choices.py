"""The row that a fleet agrees on, in a real Postgres: its changes, when they begin, and what a pull may believe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from math import ceil
from uuid import UUID

import asyncpg
import pytest

from tenantcache.devservers.postgres import PostgresServer
from tenantcache.freshness.log import Pull
from tenantcache.ratelimit.core.agreement import NOTICE, Proposal, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.handover import LEASE
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import Held
from tenantcache.ratelimit.holder import Holder
from tenantcache.schema import install as schema
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.counterchoice import PostgresChoices
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tests.fakes import debit_one

DAY = Window("day", 20_000)


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[PostgresLog]:
    log = PostgresLog(database_url, timeout=5.0)
    await log.open(lambda *_, **__: None)
    yield log
    await log.close()


async def read(log: PostgresLog) -> tuple[StoreChoice, Pull]:
    pull = await log.tail(10, 10)
    assert pull.choice is not None
    return pull.choice, pull


def proposal(version: int, store: str, quiet: float = 60.0) -> Proposal:
    return Proposal(version, "redis" if store == "redis" else "postgres", f"to {store}", quiet)


async def begin_now(admin: asyncpg.Connection) -> None:
    """As if the minute that was agreed on had come."""
    await admin.execute("update tenantcache.counter_store set from_minute = 0")


async def test_no_process_has_chosen_at_first_and_the_first_choice_holds_at_once(
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
    assert before <= choice.complained_at <= after  # to leave Redis is to report it unavailable


async def test_a_pull_settles_the_notice_of_the_schema_and_of_the_core(log: PostgresLog) -> None:
    before = time.time()
    _, pull = await read(log)
    assert pull.settled_until is not None
    assert before + NOTICE <= pull.settled_until <= pull.server_time + NOTICE


async def test_of_several_that_change_it_at_once_one_does(postgres: PostgresTenants) -> None:
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


async def test_no_process_goes_back_to_redis_while_one_reports_it_unavailable(
    postgres: PostgresTenants, admin: asyncpg.Connection
) -> None:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "postgres"))
    await choices.report_unavailable()
    assert not await choices.choose(proposal(1, "redis", quiet=60))
    await admin.execute("update tenantcache.counter_store set complained_at = complained_at - interval '30 seconds'")
    assert not await choices.choose(proposal(1, "redis", quiet=60))
    await admin.execute("update tenantcache.counter_store set complained_at = complained_at - interval '30 seconds'")
    assert await choices.choose(proposal(1, "redis", quiet=60))
    # From Redis to Redis, after its counters were lost, is not a way back.
    await begin_now(admin)
    await choices.report_unavailable()
    assert await choices.choose(proposal(2, "redis"))


async def test_a_pull_that_meets_a_change_in_the_making_settles_nothing(
    postgres: PostgresTenants, log: PostgresLog, admin: asyncpg.Connection
) -> None:
    """The commit may take as long as it likes: a pull meanwhile knows that it does not know."""
    await PostgresChoices(postgres).choose(proposal(0, "redis"))
    async with admin.transaction():
        await admin.execute("select tenantcache.choose_counter_store(1, 'postgres', 'slowly', 60)")
        choice, pull = await read(log)
        assert choice.version == 1
        assert pull.settled_until is None
    choice, pull = await read(log)
    assert choice.version == 2
    assert pull.settled_until is not None


async def test_no_timeout_of_ours_ends_a_commit_that_waits_for_a_standby(
    postgres_factory: Callable[..., PostgresServer],
) -> None:
    """Its lock outlives the connection. Until it is done, a process hears the log, and knows no minute."""
    server = postgres_factory(options={"synchronous_standby_names": "none_such"})
    admin = await asyncpg.connect(server.url)
    await schema.install(admin)
    await admin.execute("alter role postgres set synchronous_commit = on")
    postgres, log = PostgresTenants(server.url, timeout=60), PostgresLog(server.url, timeout=60)
    failover = Failover(has_redis=True)
    await postgres.open()
    await log.open(lambda *_, **__: None)
    choosing = asyncio.create_task(PostgresChoices(postgres).choose(proposal(0, "redis")))
    while not (waits := await admin.fetchval("select max(pid) from pg_stat_activity where wait_event = 'SyncRep'")):
        await asyncio.sleep(0.01)
    choosing.cancel()  # as a timeout does
    with suppress(asyncio.CancelledError):
        await choosing
    choice, pull = await read(log)
    assert (choice.version, pull.settled_until) == (0, None)
    failover.follow(choice, None, read_at=pull.server_time)
    assert not failover.is_isolated(pull.server_time + 2.9)
    assert failover.store_of(int(pull.server_time // 60)) is None
    await admin.execute("select pg_cancel_backend($1)", waits)
    while (settled := (await read(log))[1].settled_until) is None:
        await asyncio.sleep(0.01)
    assert settled > pull.server_time
    assert (await read(log))[0].version == 1
    await log.close()
    await postgres.close()
    await admin.close()


async def test_a_change_wakes_listeners(database_url: str, postgres: PostgresTenants) -> None:
    woken = asyncio.Event()
    log = PostgresLog(database_url, timeout=5.0)
    await log.open(lambda *_, **__: woken.set())
    await PostgresChoices(postgres).choose(proposal(0, "redis"))
    async with asyncio.timeout(5):
        await woken.wait()
    await log.close()


async def test_what_redis_has_counted_raises_a_day_and_never_lowers_it(postgres: PostgresTenants) -> None:
    choices, counters = PostgresChoices(postgres), PostgresCounters(postgres)
    await choices.mirror({("acme", DAY.number): 40, ("globex", DAY.number): 7})
    await choices.mirror({("acme", DAY.number): 30})
    assert await debit_one(counters, "acme", [Debit(DAY, 5)]) == [45]
    assert await debit_one(counters, "globex", [Debit(DAY, 0)]) == [7]


# Handing a minute over.

ONE, OTHER, THIRD = (UUID(int=number) for number in (1, 2, 3))


async def this_minute() -> int:
    """Not one that is about to end."""
    while time.time() % 60 > 57:
        await asyncio.sleep(0.1)
    return int(time.time() // 60)


@pytest.fixture
async def choices(postgres: PostgresTenants) -> PostgresChoices:
    choices = PostgresChoices(postgres)
    await choices.choose(proposal(0, "redis"))
    return choices


async def counted(postgres: PostgresTenants, owner: str, minute: int) -> int:
    [value] = await debit_one(PostgresCounters(postgres), owner, [Debit(Window("minute", minute), 0)])
    return value


async def test_a_holder_is_one_through_five_minutes_and_of_the_row_that_it_knows(
    choices: PostgresChoices, admin: asyncpg.Connection
) -> None:
    minute = await this_minute()
    assert await choices.hold(ONE, 1, holds=True) == Held(minute + LEASE, 0, 1)
    assert await choices.hold(OTHER, 0, holds=True) == Held(None, 1, 2)
    assert await choices.hold(OTHER, 1, holds=False) == Held(None, 1, 2)
    await admin.execute("update tenantcache.counter_holders set seen_at = now() - interval '91 seconds'")
    assert (await choices.hold(OTHER, 1, holds=True)).fleet == 1


async def test_the_last_report_hands_the_minute_over_with_the_sum_of_all(
    choices: PostgresChoices, postgres: PostgresTenants, log: PostgresLog
) -> None:
    minute = await this_minute()
    for process in (ONE, OTHER):
        await choices.hold(process, 1, holds=True)
    await choices.choose(proposal(1, "postgres"))
    await choices.report(ONE, minute, {"acme": 30, "globex": 1})
    assert not await choices.hand_over(ONE, 2, minute)
    assert (await read(log))[0].from_minute > minute
    await choices.report(OTHER, minute, {"acme": 5})
    await choices.report(OTHER, minute, {"acme": 12})  # its answer was lost, and more was found
    assert await choices.hand_over(OTHER, 2, minute)
    choice, pull = await read(log)
    assert (choice.version, choice.store, choice.from_minute) == (2, "postgres", minute)
    assert pull.settled_until is not None
    assert await counted(postgres, "acme", minute) == 42
    assert await counted(postgres, "globex", minute) == 1
    assert not await choices.hand_over(OTHER, 2, minute), "once is enough"
    assert await counted(postgres, "acme", minute) == 42


async def test_a_report_of_another_change_or_minute_does_not_count(choices: PostgresChoices, log: PostgresLog) -> None:
    minute = await this_minute()
    await choices.hold(ONE, 1, holds=True)
    await choices.choose(proposal(1, "postgres"))
    for version, of_minute in ((1, minute), (2, minute - 1), (2, minute + 1), (3, minute)):
        assert not await choices.hand_over(ONE, version, of_minute)
    assert (await read(log))[0].from_minute > minute


async def test_a_holder_that_was_killed_is_waited_for_as_long_as_it_may_hold_tokens(
    choices: PostgresChoices, admin: asyncpg.Connection
) -> None:
    minute = await this_minute()
    for process in (ONE, OTHER):
        await choices.hold(process, 1, holds=True)
    await choices.choose(proposal(1, "postgres"))
    await admin.execute("update tenantcache.counter_holders set through_minute = $1 where process = $2", minute, OTHER)
    assert not await choices.hand_over(ONE, 2, minute)
    await admin.execute(
        "update tenantcache.counter_holders set through_minute = $1 where process = $2", minute - 1, OTHER
    )
    assert await choices.hand_over(ONE, 2, minute)


async def test_a_process_that_leaves_is_not_waited_for_and_what_it_spent_is_counted(
    choices: PostgresChoices, postgres: PostgresTenants
) -> None:
    minute = await this_minute()
    await choices.hold(ONE, 1, holds=True)
    await choices.report(ONE, minute, {"acme": 7})
    assert not await choices.hand_over(ONE, 1, minute, leaves=True)
    await choices.choose(proposal(1, "postgres"))
    assert await choices.hand_over(OTHER, 2, minute), "no process is left that holds anything"
    assert await counted(postgres, "acme", minute) == 7


async def test_the_last_one_that_is_waited_for_may_leave(choices: PostgresChoices) -> None:
    minute = await this_minute()
    for process in (ONE, OTHER):
        await choices.hold(process, 1, holds=True)
    await choices.choose(proposal(1, "postgres"))
    assert not await choices.hand_over(ONE, 2, minute)
    assert await choices.hand_over(OTHER, 2, minute, leaves=True)


async def test_no_minute_of_postgres_is_handed_over_to_redis(choices: PostgresChoices, log: PostgresLog) -> None:
    minute = await this_minute()
    await choices.choose(proposal(1, "redis"))  # its counters were lost
    assert not await choices.hand_over(ONE, 2, minute)
    assert (await read(log))[0].from_minute > minute


async def test_a_process_becomes_no_holder_while_a_minute_is_being_handed_over(
    choices: PostgresChoices, admin: asyncpg.Connection
) -> None:
    """It waits for the lock, and then hears that the row is another one."""
    async with admin.transaction():
        await admin.execute("select tenantcache.choose_counter_store(1, 'postgres', 'slowly', 60)")
        held = asyncio.create_task(choices.hold(THIRD, 1, holds=True))
        await asyncio.sleep(0.2)
        assert not held.done()
    assert (await held).through is None


async def test_reports_of_past_minutes_and_holders_long_gone_are_removed(
    choices: PostgresChoices, admin: asyncpg.Connection
) -> None:
    minute = await this_minute()
    await choices.report(ONE, minute - 3, {"acme": 1})
    await choices.report(ONE, minute, {"acme": 1})
    await choices.hold(ONE, 1, holds=True)
    await admin.execute(
        "update tenantcache.counter_holders set seen_at = now() - interval '2 hours', through_minute = 0"
    )
    await choices.hold(OTHER, 1, holds=True)
    assert await admin.fetchval("select array_agg(minute) from tenantcache.counter_reports") == [minute]
    assert await admin.fetchval("select array_agg(process) from tenantcache.counter_holders") == [OTHER]


async def test_where_nothing_can_be_written_no_process_needs_to_be_known(
    choices: PostgresChoices, database_url: str, admin: asyncpg.Connection
) -> None:
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter database {name} set default_transaction_read_only = on")
    reader = PostgresTenants(database_url, timeout=5.0)
    await reader.open()
    held = await PostgresChoices(reader).hold(ONE, 1, holds=True)
    assert held.through is not None
    assert held.through > 1 << 40
    fleet = Failover(has_redis=True)
    fleet.follow(StoreChoice(1, "redis"), time.time() + 5)
    fleet.redis_answered(time.time(), time.time())
    holder, writer = Holder(fleet, PostgresChoices(reader)), Holder(fleet, choices)
    assert await holder.register(time.time())
    assert fleet.version_of(await this_minute()) is not None
    assert await writer.register(time.time())
    assert fleet.handover.through < 1 << 40, "once it can be written, it must be"
    await reader.close()


@pytest.mark.parametrize(
    ("seen", "through", "missing"),
    [("14 seconds", 5, False), ("16 seconds", 5, True), ("16 seconds", 0, True), ("5 minutes", -1, False)],
)
async def test_a_holder_that_was_not_heard_of_is_missing_as_long_as_it_is_waited_for(
    choices: PostgresChoices, admin: asyncpg.Connection, seen: str, through: int, missing: bool
) -> None:
    await choices.hold(ONE, 1, holds=True)
    await admin.execute(
        f"update tenantcache.counter_holders set seen_at = now() - interval '{seen}', through_minute = $1",
        await this_minute() + through,
    )
    assert await choices.misses_a_holder() == missing
