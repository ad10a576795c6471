"""The limiter's shell: lines of waiting requests, stores that fail, tokens that go back, and forks."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import minute_at
from tenantcache.ratelimit.fallback import LocalShare, OnError
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.slots import MemorySlots, Slots
from tenantcache.tenant import Limits, Tenant
from tests.fakes import FakeClock, FakeCounters, FakeSlots, limited
from tests.handingover import handed_over

MakeLimiter = Callable[..., Limiter]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> FakeCounters:
    return FakeCounters()


@pytest.fixture
async def make_limiter(clock: FakeClock, counters: FakeCounters) -> AsyncIterator[MakeLimiter]:
    made: list[Limiter] = []
    shared = MemorySlots()

    def make(on_error: OnError = "local", processes: int = 1, slots: Slots = shared) -> Limiter:
        limiter = Limiter(counters, slots, server_now=clock.server_time, processes=lambda: processes, on_error=on_error)
        made.append(limiter)
        return limiter

    yield make
    counters.gate.set()
    for limiter in made:
        await limiter.close()


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def in_line(limiter: Limiter, tenant: Tenant, count: int) -> list[asyncio.Task[Decision]]:
    """`count` requests that arrive one after another and wait for the counters."""
    tasks = [asyncio.create_task(limiter.check(tenant)) for _ in range(count)]
    await settle()
    return tasks


async def admitted_of(limiter: Limiter, tenant: Tenant, count: int) -> int:
    return sum([(await limiter.check(tenant)).allowed for _ in range(count)])


# The line.


async def test_one_take_is_in_flight_however_many_wait(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    tasks = await in_line(limiter, limited(per_minute=100), 1)
    tasks += await in_line(limiter, limited(per_minute=100), 49)
    assert len(counters.takes) == 1
    counters.gate.set()
    assert all(decision.allowed for decision in await asyncio.gather(*tasks))
    assert counters.most_in_flight == 1
    first, second, *others = [[amount for _, amount in take] for take in counters.takes]
    assert first[0] > 0
    assert second[0] > 0, "the second take is for all that came while the first was on its way"
    assert all(amount <= 0 for amounts in others for amount in amounts), "what was reserved in vain goes back"


async def test_the_line_is_served_in_order(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    tasks = await in_line(limiter, limited(per_minute=3), 6)
    served: list[int] = []
    for task in tasks:
        task.add_done_callback(lambda done: served.append(tasks.index(done)))
    counters.gate.set()
    decisions = await asyncio.gather(*tasks)
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False, False]
    assert served == [0, 1, 2, 3, 4, 5]
    assert limiter.denied == 3


async def test_a_large_request_at_the_head_is_not_overtaken(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=10)
    counters.gate.clear()
    large = asyncio.create_task(limiter.check(tenant, cost=8))
    await settle()
    small = await in_line(limiter, tenant, 4)
    counters.gate.set()
    assert (await large).allowed
    assert [(await task).allowed for task in small] == [True, True, False, False]


async def test_tenants_do_not_wait_for_each_other(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    for name in ("acme", "globex"):
        await in_line(limiter, limited(name, per_minute=10), 5)
    assert counters.most_in_flight == 2


async def test_a_request_that_gives_up_costs_nothing(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    first, second, third = await in_line(limiter, limited(per_minute=2), 3)
    second.cancel()
    await settle()
    counters.gate.set()
    assert (await first).allowed
    assert (await third).allowed, "the cancelled one must not have taken the second token"
    assert second.cancelled()


async def test_all_of_a_line_may_give_up(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=2)
    counters.gate.clear()
    for task in await in_line(limiter, tenant, 3):
        task.cancel()
    await settle()
    counters.gate.set()
    await settle()
    assert await admitted_of(limiter, tenant, 5) == 2


async def test_an_answer_that_comes_after_the_minute_is_worth_nothing(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=2)
    counters.gate.clear()
    tasks = await in_line(limiter, tenant, 3)
    clock.advance(60)
    counters.gate.set()
    assert [(await task).allowed for task in tasks] == [True, True, False]
    minutes = [{debit.window.number for debit in take} for take in counters.takes]
    now = minute_at(clock.server_time())
    assert now - 1 in minutes[0]
    assert any(now in take for take in minutes[1:]), "the new minute's tokens must be debited from the new minute"


# Limits.


async def test_an_unlimited_tenant_asks_no_counter(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    assert await admitted_of(limiter, limited(), 1000) == 1000
    assert counters.takes == []
    assert len(limiter) == 0


@pytest.mark.parametrize(
    ("per_minute", "per_day", "violated"),
    [
        (60, None, ("minute",)),
        (None, 60, ("day",)),
        (60, 60, ("minute", "day")),
        (60, 1000, ("minute",)),
        (1000, 60, ("day",)),
    ],
)
async def test_exactly_the_limit_is_admitted(
    counters: FakeCounters,
    make_limiter: MakeLimiter,
    per_minute: int | None,
    per_day: int | None,
    violated: tuple[str, ...],
) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=per_minute, per_day=per_day)
    assert await admitted_of(limiter, tenant, 200) == 60
    taken = len(counters.takes)
    refused = await limiter.check(tenant)
    assert refused.violated == violated
    assert await admitted_of(limiter, tenant, 1000) == 0
    assert len(counters.takes) == taken, "who was denied once is denied without asking"


@pytest.mark.parametrize(
    ("tenant", "limit"),
    [(limited(per_minute=60), 60), (limited(per_day=600), 600), (limited(per_minute=60, per_day=600), 60)],
)
async def test_processes_together_never_exceed_it(make_limiter: MakeLimiter, tenant: Tenant, limit: int) -> None:
    """Four shells on one set of counters, each of which knows that there are four."""
    limiters = [make_limiter(processes=4) for _ in range(4)]
    admitted = [await admitted_of(limiter, tenant, 25) for _ in range(10) for limiter in limiters]
    assert sum(admitted) == limit


async def test_a_denial_says_when_the_window_ends(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=1)
    clock.advance(12.5)
    await limiter.check(tenant)
    refused = await limiter.check(tenant)
    assert (refused.allowed, refused.violated, refused.retry_after) == (False, ("minute",), 47.5)
    clock.advance(47.5)
    assert (await limiter.check(tenant)).allowed


@pytest.mark.parametrize("tenant", [limited(per_minute=60), limited(per_day=60), limited(per_minute=60, per_day=1000)])
async def test_a_cost_above_a_limit_is_refused_at_once_and_for_good(
    counters: FakeCounters, make_limiter: MakeLimiter, tenant: Tenant
) -> None:
    refused = await make_limiter().check(tenant, cost=61)
    assert not refused.allowed
    assert refused.retry_after is None
    assert counters.takes == []


async def test_a_cost_of_the_whole_limit_is_admitted(make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=60)
    assert (await limiter.check(tenant, cost=60)).allowed
    assert not (await limiter.check(tenant)).allowed


@pytest.mark.parametrize("cost", [0, -1])
async def test_a_request_costs_something(make_limiter: MakeLimiter, cost: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 token, not {cost}"):
        await make_limiter().check(limited(per_minute=60), cost=cost)


NOT_COSTS: list[Any] = [1.5, 1.0, True, "1", None, float("nan"), float("inf"), 2**31, 2**63, 2**64, -(2**63)]


@pytest.mark.parametrize("cost", NOT_COSTS)
async def test_what_is_no_cost_is_said_at_the_call(
    counters: FakeCounters, make_limiter: MakeLimiter, cost: Any
) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=60, per_day=1000)
    for call in (limiter.check(tenant, cost), limiter.check_named(tenant, "exports", EXPORTS, cost)):
        with pytest.raises(ValueError, match="a request costs a whole number of at most 2147483647 tokens"):
            await call
    assert (await limiter.check(tenant)).allowed
    takes = len(counters.takes)
    with pytest.raises(ValueError, match="a request costs a whole number"):
        limiter.refund(tenant, cost, "today")
    with pytest.raises(ValueError, match="a request costs a whole number"):
        await limiter.check(limited("free"), cost)
    assert len(counters.takes) == takes
    assert await admitted_of(limiter, tenant, 100) == 59


@pytest.mark.parametrize("at", [float("nan"), float("inf"), "now", True, 10**400])
async def test_what_is_no_time_of_an_admission_is_said_at_the_call(make_limiter: MakeLimiter, at: Any) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=60)
    assert (await limiter.check(tenant)).allowed
    with pytest.raises(ValueError, match="admitted_at is "):
        limiter.refund(tenant, 1, at)


@pytest.mark.parametrize(
    "limits",
    [Limits(1.5, None), Limits(None, float("nan")), Limits(2**31, None), Limits(None, 2**53), Limits(-1, None)],  # type: ignore[arg-type]
)
async def test_what_is_no_limit_is_said_at_the_call(make_limiter: MakeLimiter, limits: Limits) -> None:
    with pytest.raises(ValueError, match="give None or a whole number from 0 to"):
        await make_limiter().check_named(limited(), "exports", limits)


@pytest.mark.parametrize("at_once", [10, 51, 100])
async def test_dear_requests_at_several_processes_are_served_when_what_they_took_is_back(
    clock: FakeClock, make_limiter: MakeLimiter, at_once: int
) -> None:
    """Each comes in with one token of 100 and needs 50, at one of four processes."""
    limiters, tenant = [make_limiter(processes=4) for _ in range(4)], limited(per_minute=100, per_day=1000)

    async def ask(limiter: Limiter) -> bool:
        first = await limiter.check(tenant)
        if not first.allowed:
            return False
        limiter.refund(tenant, 1, first.at)
        return (await limiter.check(tenant, 50)).allowed

    served = sum(await asyncio.gather(*(ask(limiters[number % 4]) for number in range(at_once))))
    for _ in range(3):
        clock.advance(1)
        for limiter in limiters:  # as the limiter's own task does once a second
            limiter.upkeep.return_surplus()
        await settle()
        served += sum([await ask(limiter) for limiter in limiters])
    assert served >= 1
    plain = [await admitted_of(limiter, tenant, 110) for limiter in limiters]
    assert 90 <= sum(plain) + 50 * served <= 100


async def test_a_raised_limit_ends_a_denial(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    admitted = []
    for per_minute, per_day in ((5, 7), (50, 7), (50, 12), (None, None)):
        tenant = limited(per_minute=per_minute, per_day=per_day)
        limiter.update(tenant)  # as every read of the tenant does
        admitted.append(await admitted_of(limiter, tenant, 20))
    assert admitted == [5, 2, 5, 20]


async def test_a_lowered_limit_holds_at_once(make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    assert await admitted_of(limiter, limited(per_minute=1000), 10) == 10
    limiter.update(limited(per_minute=12))
    assert await admitted_of(limiter, limited(per_minute=12), 20) == 2


async def test_a_tenant_that_was_read_earlier_brings_no_old_limit_back(make_limiter: MakeLimiter) -> None:
    limiter, old = make_limiter(), limited(per_minute=1000)
    assert await admitted_of(limiter, old, 10) == 10
    limiter.update(limited(per_minute=12))
    assert await admitted_of(limiter, old, 20) == 2


async def test_quotas_tell_what_is_left_and_take_nothing(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=60, per_day=100)
    assert [quota.remaining for quota in limiter.quotas(tenant)] == [60, 100]
    assert counters.takes == []
    await limiter.check(tenant, cost=5)
    assert [quota.remaining for quota in limiter.quotas(tenant)] == [55, 95]
    assert limiter.quotas(limited("globex")) == ()


async def test_a_limit_raised_behind_a_waiting_line_serves_it(
    counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    tasks = await in_line(limiter, limited(per_minute=1), 3)
    limiter.update(limited(per_minute=3))
    counters.gate.set()
    assert [(await task).allowed for task in tasks] == [True, True, True]


# Without a store.


@pytest.mark.parametrize(("on_error", "expected"), [("local", 30), ("allow", 100), ("deny", 0)])
async def test_without_a_store_on_error_decides(
    counters: FakeCounters, make_limiter: MakeLimiter, on_error: OnError, expected: int
) -> None:
    """`local`: this process's half of 60."""
    limiter = make_limiter(on_error, processes=2)
    counters.failing = True
    assert await admitted_of(limiter, limited(per_minute=60, per_day=1000), 100) == expected
    assert limiter.degraded
    assert limiter.stats()["errors"] > 0


@pytest.mark.parametrize(("processes", "limit"), [(16, 5), (4, 7), (3, 100), (5, 5), (1, 9)])
@pytest.mark.parametrize("places", [True, False], ids=["numbered", "not numbered"])
async def test_local_shares_add_up_to_the_limit_at_most(processes: int, limit: int, places: bool) -> None:
    admitted = 0
    for rank in range(processes):
        share = LocalShare("local", lambda: processes)
        if places:
            share.place = lambda rank=rank: (rank, processes)  # type: ignore[misc]
        reservation = Reservation(Limits(limit), 0.0)
        admitted += [share.decide("acme", reservation, 1, 0.0, None).allowed for _ in range(limit)].count(True)
    assert admitted == (limit if places else limit // processes * processes)


async def test_the_rest_of_a_limit_is_not_always_the_same_process() -> None:
    share = LocalShare("local", lambda: 16)
    share.place = lambda: (0, 16)
    owners, reservation = [f"tenant-{number}" for number in range(160)], Reservation(Limits(5), 0.0)
    assert 20 <= [share.decide(owner, reservation, 1, 0.0, None).allowed for owner in owners].count(True) <= 80


async def test_what_was_spent_in_a_loop_that_has_ended_is_handed_over(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    """Redis has granted it, so Postgres must know, although nothing here goes on with it."""
    limiter, tenant = make_limiter(), limited(per_minute=1000)
    for spent in (10, 20):
        assert await admitted_of(limiter, tenant, 10) == 10
        counters.gate.clear()
        stuck = asyncio.create_task(limiter.check(tenant, cost=700))
        await settle()
        limiter.leave_loop()
        stuck.cancel()
        counters.gate.set()
        assert handed_over(limiter) == {tenant.id: spent}
    clock.advance(60)
    assert handed_over(limiter) == {}


async def test_a_local_share_is_of_the_day_as_well(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter, tenant = make_limiter(processes=2), limited(per_minute=60, per_day=80)
    counters.failing = True
    assert await admitted_of(limiter, tenant, 50) == 30
    clock.advance(60)
    assert await admitted_of(limiter, tenant, 50) == 10
    clock.advance(86_400)
    assert await admitted_of(limiter, tenant, 50) == 30


async def test_what_is_held_is_spent_before_the_local_share(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter("deny"), limited(per_minute=600)
    assert (await limiter.check(tenant)).allowed
    of_minute, of_quarter = counters.total("minute"), counters.total("quarter")
    assert of_minute > 1
    assert of_quarter > 0, "tokens that are reserved of each minute of the quarter are of this one as well"
    counters.failing = True
    assert await admitted_of(limiter, tenant, 600) == of_minute + of_quarter - 1


async def test_a_denial_without_a_store_says_when_to_come_back(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter = make_limiter("deny")
    counters.failing = True
    clock.advance(20)
    refused = await limiter.check(limited(per_minute=60))
    assert (refused.violated, refused.retry_after) == ((), 40.0)


@pytest.mark.parametrize(("on_error", "admitted"), [("local", 30), ("deny", 0)])
async def test_a_refusal_for_want_of_a_store_is_none_by_a_limit(
    counters: FakeCounters, make_limiter: MakeLimiter, on_error: OnError, admitted: int
) -> None:
    limiter, tenant = make_limiter(on_error, processes=2), limited(per_minute=60, per_day=1000)
    counters.failing = True
    assert await admitted_of(limiter, tenant, 50) == admitted
    refused = await limiter.check(tenant)
    assert (refused.unavailable, refused.violated, refused.quotas) == (True, (), ())
    never = await limiter.check(tenant, 61)
    assert (never.unavailable, never.violated) == (False, ("minute",)), "that is so whatever the counters say"
    named = await limiter.check_named(tenant, "exports", Limits(0, 1))
    assert (named.unavailable, named.violated) == (False, ("exports-minute",))
    assert (limiter.stats()["unavailable"], limiter.stats()["denied"]) == (50 - admitted + 1, 2)


async def test_a_limit_that_is_used_up_is_said_to_be_although_the_store_is_gone(
    counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter, tenant = make_limiter("deny"), limited(per_minute=5)
    assert await admitted_of(limiter, tenant, 9) == 5
    counters.failing = True
    refused = await limiter.check(tenant)
    assert (refused.unavailable, refused.violated) == (False, ("minute",))
    assert [quota.remaining for quota in refused.quotas] == [0]


async def test_an_outage_is_logged_once_with_its_reason(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    """Acme and globex are in two groups of counters."""
    caplog.set_level(logging.INFO, logger="tenantcache")
    limiter = make_limiter("deny", slots=FakeSlots(apart=True))
    counters.failing = True
    for name in ("acme", "globex"):
        assert await admitted_of(limiter, limited(name, per_minute=60), 20) == 0
    counters.failing = False
    clock.advance(1)
    assert (await limiter.check(limited(per_minute=60))).allowed
    assert limiter.degraded, "the other one has not been answered yet"
    clock.advance(60)
    assert (await limiter.check(limited(per_minute=60), 60)).allowed
    assert not limiter.degraded
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("ERROR", "limits cannot be counted in the store (the fake counters are unavailable): going on with 'deny'"),
        ("INFO", "limits are counted in the store again"),
    ]


async def test_it_comes_back_as_the_store_does(
    clock: FakeClock, counters: FakeCounters, make_limiter: MakeLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    limiter, tenant = make_limiter("deny"), limited(per_minute=60)
    counters.failing = True
    for _ in range(3):
        assert not (await limiter.check(tenant)).allowed
    counters.failing = False
    clock.advance(1)  # it has failed twice, and is left alone for a moment
    assert (await limiter.check(tenant)).allowed
    assert not limiter.degraded
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]  # each once
    assert await admitted_of(limiter, tenant, 100) == 59


async def test_a_line_behind_a_store_that_fails_is_answered(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter("local", processes=2)
    counters.gate.clear()
    tasks = await in_line(limiter, limited(per_minute=6), 5)
    counters.failing = True
    counters.gate.set()
    assert [(await task).allowed for task in tasks] == [True, True, True, False, False]


async def test_an_answer_that_never_came_is_not_granted(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    """The debits were made, only the reply was lost: counting them as granted elsewhere keeps the limit."""
    limiter, tenant = make_limiter("deny"), limited(per_minute=10)
    counters.losing = True
    assert not (await limiter.check(tenant)).allowed
    minute, quarter = counters.takes[0]
    lost = minute.amount + quarter.amount
    assert (minute.amount > 0, quarter.amount) == (True, 1)
    counters.losing = False
    assert await admitted_of(limiter, tenant, 20) == 10 - lost


# Giving back.


async def test_an_orderly_stop_gives_back_what_is_unspent_once(
    counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter = make_limiter()
    for name in ("acme", "globex"):
        assert await admitted_of(limiter, limited(name, per_minute=600, per_day=10_000), 3) == 3
    assert counters.total("minute") > 6
    assert counters.total("day") > 6
    await limiter.close()
    assert (counters.total("minute"), counters.total("day")) == (6, 6)
    taken = len(counters.takes)
    await limiter.close()
    assert len(counters.takes) == taken


async def test_a_stop_waits_for_the_take_in_flight(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    counters.gate.clear()
    tasks = await in_line(limiter, limited(per_minute=600), 3)
    closing = asyncio.create_task(limiter.close())
    await settle()
    assert not closing.done()
    counters.gate.set()
    await closing
    assert [(await task).allowed for task in tasks] == [True, True, True]
    assert counters.total("minute") == 3


async def test_a_stop_without_a_store_loses_the_tokens_and_nothing_else(
    counters: FakeCounters, make_limiter: MakeLimiter
) -> None:
    limiter = make_limiter()
    await limiter.check(limited(per_minute=600))
    counters.failing = True
    await limiter.close()
    assert counters.total("minute") > 1
    assert limiter.stats()["errors"] == 1


# Forks.

_FORK = """
import asyncio, os, sys
from tenantcache.lookup.fastpath import Serving
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, limited, make_cache, row

async def spend(cache):
    tenant = await cache.resolve("acme.example.com")
    entry = cache.memory.get("subdomain:acme")
    await cache.check(tenant)
    cache.fast_paths.open(b"acme.example.com", entry, Serving(tenant, cache))
    return entry.fast_path.reservation

async def in_parent():
    clock = FakeClock()
    cache = make_cache(FakeDatabase(clock, row("acme", limit_per_minute=600)), clock, counters=FakeCounters())
    await cache.open()
    meter = await spend(cache)
    assert meter.minute + meter.low > 0, "the parent must hold something for this to mean anything"
    held = meter.minute + meter.low
    child = os.fork()  # within the loop: the engine is closed when that ends
    if child == 0:
        forgotten = len(cache.limiter) == 0 and len(cache.memory) == 0 and not cache.is_open and not cache.memory.hot
        os._exit(0 if forgotten else 1)
    _, status = os.waitpid(child, 0)
    kept = len(cache.limiter) == 1 and len(cache.memory) == 1 and cache.is_open and meter.minute + meter.low == held
    print("child forgot" if os.waitstatus_to_exitcode(status) == 0 else "child kept tokens")
    print("parent kept" if kept else "parent lost tokens")

asyncio.run(in_parent())
"""


def test_a_forked_child_holds_nothing_of_its_parents() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.splitlines() == ["child forgot", "parent kept"], done.stderr


async def test_days_end_at_midnight_of_the_tenants_zone(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    now = datetime.fromtimestamp(clock.server_time(), UTC)
    tenant = replace(limited(per_day=1), time_zone="Asia/Kathmandu")  # UTC+05:45, without summer time
    midnight = (now + timedelta(hours=5, minutes=45)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = 86_400 - (now + timedelta(hours=5, minutes=45) - midnight).total_seconds()
    assert await admitted_of(limiter, tenant, 3) == 1
    refused = await limiter.check(tenant)
    assert refused.retry_after == pytest.approx(left)
    clock.advance(left - 0.01)
    assert not (await limiter.check(tenant)).allowed
    clock.advance(0.02)
    assert (await limiter.check(tenant)).allowed


async def test_another_time_zone_is_put_in_force(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    tenant = limited(per_day=5)
    assert (await limiter.check(tenant)).allowed
    before = limiter.quotas(tenant)[0].reset
    limiter.update(replace(tenant, time_zone="Etc/GMT-1"))  # POSIX: an hour ahead of UTC
    assert limiter.quotas(tenant)[0].reset == pytest.approx((before - 3600) % 86_400)


# Beside the requests.


async def test_a_peek_is_one_look_at_the_counters(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=100, per_day=1000)
    assert await admitted_of(limiter, tenant, 3) == 3
    takes = len(counters.takes)
    minute, day = await limiter.peek(tenant)
    assert len(counters.takes) == takes + 1
    assert {window.unit: amount for window, amount in counters.takes[-1]} == {"minute": 0, "quarter": 0, "day": 0}
    assert (minute.limit, minute.remaining) == (100, 97), "what is held here is not used"
    assert (day.limit, day.remaining) == (1000, 997)


async def test_a_peek_sees_what_others_took(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    here, there = make_limiter(), make_limiter()
    tenant = limited(per_minute=7)  # too small for anything to stand in advance
    assert here.quotas(tenant)[0].remaining == 7
    assert await admitted_of(there, tenant, 20) == 7
    assert here.quotas(tenant)[0].remaining == 7, "as far as is known here"
    assert (await here.peek(tenant))[0].remaining == 0
    assert await make_limiter().peek(limited("free")) == ()


async def test_quotas_are_never_those_of_a_window_that_is_over(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=7)
    assert await admitted_of(limiter, tenant, 9) == 7
    clock.advance(59.999)
    [quota] = limiter.quotas(tenant)
    assert quota.remaining == 0
    assert quota.reset == pytest.approx(0.001, abs=1e-5)
    clock.advance(0.001)
    [quota] = limiter.quotas(tenant)
    assert quota.remaining == 7
    assert quota.reset == pytest.approx(60, abs=1e-5)


async def test_a_refund_is_there_to_spend_again(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=5, per_day=100)
    decisions = [await limiter.check(tenant) for _ in range(6)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert decisions[0].at == clock.server_time()
    assert limiter.refund(tenant, 2, decisions[0].at) == 2
    assert await admitted_of(limiter, tenant, 5) == 2
    assert limiter.refund(tenant, 50, decisions[0].at) == 5, "never more than was spent"
    assert limiter.refund(tenant, 1, decisions[0].at) == 0
    assert await admitted_of(limiter, tenant, 9) == 5


async def test_a_refund_without_a_time_gives_the_day_its_tokens(make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=5, per_day=5)
    assert await admitted_of(limiter, tenant, 9) == 5
    assert limiter.refund(tenant, 3, None) == 0, "nothing was spent for it"
    assert limiter.refund(tenant, 3, "today") == 3
    assert not (await limiter.check(tenant)).allowed, "the minute's are not given back: it may be another one's"
    assert limiter.refund(limited("nobody"), 3, "today") == 0


async def test_a_refund_of_an_earlier_minute_is_none(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=5)
    admitted_at = (await limiter.check(tenant)).at
    clock.advance(60)
    assert await admitted_of(limiter, tenant, 9) == 5
    limiter.refund(tenant, 1, admitted_at)
    assert not (await limiter.check(tenant)).allowed


async def test_a_refund_of_yesterday_gives_today_nothing(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_day=5)
    admitted_at = (await limiter.check(tenant)).at
    clock.advance(86_400)
    assert await admitted_of(limiter, tenant, 9) == 5
    assert limiter.refund(tenant, 1, admitted_at) == 0
    assert not (await limiter.check(tenant)).allowed


async def test_what_is_refunded_goes_back_once(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_day=50)
    assert await admitted_of(limiter, tenant, 10) == 10
    assert limiter.refund(tenant, 4, "today") == 4
    assert sum(spent.tokens for _, days in limiter.drain() for spent in days) == 6
    await limiter.close()
    assert counters.total("day") == 6


async def test_a_reset_is_one_more_limit(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, other, tenant = make_limiter(), make_limiter(), limited(per_minute=5)
    assert await admitted_of(limiter, tenant, 9) + await admitted_of(other, tenant, 9) == 5
    await limiter.reset(tenant)
    assert not (await limiter.check(tenant)).allowed, "it has not heard of it yet"
    for each in (limiter, other):
        each.restart(tenant.id)
    assert await admitted_of(limiter, tenant, 9) + await admitted_of(other, tenant, 9) == 5


async def test_a_reset_is_of_the_day_as_well(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=5, per_day=8)
    assert await admitted_of(limiter, tenant, 9) == 5
    await limiter.reset(tenant)
    limiter.restart(tenant.id)
    assert await admitted_of(limiter, tenant, 9) == 5
    clock.advance(60)
    assert await admitted_of(limiter, tenant, 9) == 3


async def test_a_reset_is_of_one_tenant(make_limiter: MakeLimiter) -> None:
    limiter, acme, globex = make_limiter(), limited(per_minute=5), limited("globex", per_minute=5)
    assert [await admitted_of(limiter, tenant, 9) for tenant in (acme, globex)] == [5, 5]
    await limiter.reset(acme)
    limiter.restart("acme")
    assert [await admitted_of(limiter, tenant, 9) for tenant in (acme, globex)] == [5, 0]


# Named limits.

EXPORTS = Limits(3, None)


async def named(limiter: Limiter, tenant: Tenant, count: int, name: str = "exports") -> int:
    return sum([(await limiter.check_named(tenant, name, EXPORTS)).allowed for _ in range(count)])


async def test_a_named_limit_is_beside_the_tenants_own(make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited(per_minute=5)
    assert await named(limiter, tenant, 9) == 3
    assert await named(limiter, tenant, 9, "imports") == 3
    assert await admitted_of(limiter, tenant, 9) == 5
    assert await named(limiter, limited("globex"), 9) == 3
    refused = await limiter.check_named(tenant, "exports", EXPORTS)
    assert (refused.violated, [quota.name for quota in refused.quotas]) == (("exports-minute",), ["exports-minute"])
    assert (await limiter.check_named(tenant, "exports", EXPORTS, 4)).retry_after is None
    with pytest.raises(ValueError, match="at least 1 token, not 0"):
        await limiter.check_named(tenant, "exports", EXPORTS, 0)


async def test_processes_share_a_named_limit(make_limiter: MakeLimiter) -> None:
    limiters = [make_limiter(processes=3) for _ in range(3)]
    assert sum([await named(limiter, limited(), 9) for limiter in limiters]) == 3


async def test_a_stop_gives_back_named_tokens_too(counters: FakeCounters, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter()
    limits = Limits(None, 1000)
    assert (await limiter.check_named(limited(), "exports", limits)).allowed
    assert counters.total("day") > 1
    await limiter.close()
    assert counters.total("day") == 1


async def test_a_forked_copy_has_no_named_tokens(make_limiter: MakeLimiter, counters: FakeCounters) -> None:
    limiter = make_limiter()
    assert await named(limiter, limited(), 1) == 1
    limiter.forget()
    takes = len(counters.takes)
    assert await named(limiter, limited(), 1) == 1
    assert len(counters.takes) > takes, "it asks the counters, and spends nothing of its parent's"


async def test_a_reset_is_of_named_limits_too(make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited()
    assert await named(limiter, tenant, 9) == 3
    await limiter.reset(tenant)
    limiter.restart(tenant.id)
    assert await named(limiter, tenant, 9) == 3


async def test_days_of_named_limits_end_in_the_tenants_zone(clock: FakeClock, make_limiter: MakeLimiter) -> None:
    limiter, tenant = make_limiter(), limited()
    first = (await limiter.check_named(tenant, "exports", Limits(None, 1))).quotas[0].reset
    moved = replace(tenant, time_zone="Etc/GMT-1")
    again = (await limiter.check_named(moved, "exports", Limits(None, 1))).quotas[0].reset
    assert again == pytest.approx((first - 3600) % 86_400)


async def test_sliding_minutes_have_no_edge(clock: FakeClock, counters: FakeCounters) -> None:
    limiter = Limiter(counters, MemorySlots(), server_now=clock.server_time, processes=lambda: 1, sliding=True)
    tenant = limited(per_minute=60)
    clock.advance(59)
    assert await admitted_of(limiter, tenant, 90) == 60
    clock.advance(2)
    assert await admitted_of(limiter, tenant, 90) <= 1
    refused = await limiter.check(tenant)
    takes = len(counters.takes)
    assert refused.retry_after is not None
    clock.advance(refused.retry_after - 0.01)
    assert not (await limiter.check(tenant)).allowed
    assert len(counters.takes) == takes, "no commands meanwhile"
    clock.advance(0.02)
    assert (await limiter.check(tenant)).allowed
    await limiter.close()


# Tenants that are not asked for any more.


async def idle_limiter(
    clock: FakeClock, counters: FakeCounters, cached: set[str], *, named: bool = False
) -> tuple[Limiter, Tenant]:
    """A limiter whose one tenant has spent 1 of 600 tokens, 11 minutes ago."""
    limiter = Limiter(
        counters, MemorySlots(), server_now=clock.server_time, processes=lambda: 1, is_cached=cached.__contains__
    )
    tenant = limited(per_minute=600, per_day=1000)
    assert (await limiter.check(tenant)).allowed
    if named:
        assert (await limiter.check_named(tenant, "exports", Limits(None, 5_000))).allowed
    clock.advance(11 * 60)
    return limiter, tenant


async def test_who_is_gone_from_memory_gives_everything_back(clock: FakeClock, counters: FakeCounters) -> None:
    limiter, tenant = await idle_limiter(clock, counters, set())
    assert counters.total("day") > 1, "there is something to give back"
    await limiter.upkeep.sweep()
    assert len(limiter) == 0
    assert counters.total("day") == 1, "what was spent, and nothing more"
    assert [spent.tokens for _, drained in limiter.drain() for spent in drained] == [1], "usage is not lost"
    assert (await limiter.check(tenant)).allowed, "a tenant that comes back is served as any other"
    await limiter.close()


async def test_who_is_in_memory_keeps_his_tokens(clock: FakeClock, counters: FakeCounters) -> None:
    limiter, tenant = await idle_limiter(clock, counters, {"acme"})
    meter, takes = limiter.meter_of(tenant), len(counters.takes)
    await limiter.upkeep.sweep()
    assert limiter.meter_of(tenant) is meter
    assert len(counters.takes) == takes
    await limiter.close()


async def test_who_was_there_a_moment_ago_keeps_his_tokens(clock: FakeClock, counters: FakeCounters) -> None:
    limiter, tenant = await idle_limiter(clock, counters, set())
    assert (await limiter.check(tenant)).allowed
    takes = len(counters.takes)
    clock.advance(9 * 60)
    await limiter.upkeep.sweep()
    assert (len(limiter), len(counters.takes)) == (1, takes)
    await limiter.close()


async def test_idle_named_limits_are_forgotten_though_their_tenant_is_in_memory(
    clock: FakeClock, counters: FakeCounters
) -> None:
    limiter, tenant = await idle_limiter(clock, counters, {"acme"}, named=True)
    takes = len(counters.takes)
    await limiter.upkeep.sweep()
    assert len(limiter) == 1
    [(_, amount)] = counters.takes[takes]
    assert (len(counters.takes), amount) == (takes + 1, -49), "a hundredth of the named day was taken, and 1 spent"
    assert (await limiter.check_named(tenant, "exports", Limits(None, 5_000), 4_999)).allowed
    await limiter.close()


async def test_who_waits_for_a_token_is_not_forgotten(clock: FakeClock, counters: FakeCounters) -> None:
    limiter, tenant = await idle_limiter(clock, counters, set())
    counters.gate.clear()
    waiting = asyncio.create_task(limiter.check(tenant, cost=500))
    await settle()
    clock.advance(11 * 60)
    await limiter.upkeep.sweep()
    assert len(limiter) == 1
    counters.gate.set()
    assert (await waiting).allowed
    await limiter.close()
