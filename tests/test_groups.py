"""Commands that take tokens for many tenants: what goes together, what waits for what, and what is left of failures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Debit, Unit, Window, minute_at
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.ratelimit.fallback import OnError
from tenantcache.ratelimit.group import MAX_IN_FLIGHT, STEP
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.slots import GROUP_SIZE
from tenantcache.tenant import Tenant
from tests.fakes import FakeClock, FakeCounters, FakeSlots, limited


class StepwiseCounters(FakeCounters):
    """While `stepwise`, each call waits until `let_go` is called for it. It fails for `failing_owners`, and for a part
    of each take if that is of `silent_units`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stepwise = False
        self.failing_owners: set[str] = set()
        self.silent_units: set[Unit] = set()
        self.events: list[asyncio.Event] = []

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        event = asyncio.Event()
        self.events.append(event)
        if self.stepwise:
            self.batches.append(tuple(batch))
            await event.wait()
            self.batches.remove(tuple(batch))
        event.set()
        if self.failing_owners & {account.owner for account, _ in batch}:
            self.batches.append(tuple(batch))
            raise StoreError("the fake counters are unavailable")
        values = await super().debit(batch)
        if self.silent_units:
            raise self._answered_in_part(batch, values)
        return values

    def _answered_in_part(self, batch: Sequence[AccountDebits], values: Sequence[Sequence[int]]) -> StoreError:
        error = StoreError("one of the fake stores is unavailable")
        error.values = [
            [
                None if debit.window.unit in self.silent_units else value
                for debit, value in zip(debits, found, strict=True)
            ]
            for (_, debits), found in zip(batch, values, strict=True)
        ]
        return error

    @property
    def waiting(self) -> int:
        return sum(not event.is_set() for event in self.events) if self.stepwise else 0

    def let_go(self, call: int | None = None) -> None:
        """The call of that number; None: all of them, and those to come."""
        if call is None:
            self.stepwise = False
        for event in self.events if call is None else [self.events[call]]:
            event.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> StepwiseCounters:
    return StepwiseCounters()


@pytest.fixture
def slots() -> FakeSlots:
    return FakeSlots()


@pytest.fixture
async def limiter(clock: FakeClock, counters: StepwiseCounters, slots: FakeSlots) -> AsyncIterator[Limiter]:
    limiter = make(clock, counters, slots)
    yield limiter
    counters.let_go()
    counters.gate.set()
    slots.gate.set()
    await limiter.close()


def make(clock: FakeClock, counters: FakeCounters, slots: FakeSlots, on_error: OnError = "deny") -> Limiter:
    return Limiter(counters, slots, server_now=clock.server_time, processes=lambda: 1, on_error=on_error)


def tenants(count: int, per_minute: int = 600, per_day: int | None = None) -> list[Tenant]:
    return [limited(f"t{number}", per_minute, per_day) for number in range(count)]


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(limiter: Limiter, *asked: Tenant) -> list[asyncio.Task[Decision]]:
    """One request of each, which may wait."""
    tasks = [asyncio.create_task(limiter.check(tenant)) for tenant in asked]
    await settle()
    return tasks


def owners(batch: Sequence[AccountDebits]) -> list[str]:
    return [account.owner for account, _ in batch]


def asking(batches: Sequence[Sequence[AccountDebits]]) -> list[list[str]]:
    """The owners of each command that takes anything."""
    return [owners(batch) for batch in batches if any(debit.amount > 0 for _, debits in batch for debit in debits)]


# What goes together.


async def test_what_becomes_due_in_one_tick_is_one_command(
    limiter: Limiter, counters: StepwiseCounters, slots: FakeSlots
) -> None:
    fifty = tenants(50)
    assert all([(await task).allowed for task in await ask(limiter, *fifty)])
    names = [tenant.id for tenant in fifty]
    assert [list(question) for question in slots.questions] == [names]
    assert asking(counters.batches) == [names]


async def asked_for_in_the_next_minute(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock, *busy: Tenant
) -> list[str]:
    """The owners in the first command of a minute in which the first of the `busy` tenants asks alone."""
    for tenant in busy:
        for _ in range(100):
            assert (await limiter.check(tenant)).allowed
    clock.advance(60)
    return await asked_for_next(limiter, counters, busy[0])


async def asked_for_next(limiter: Limiter, counters: StepwiseCounters, tenant: Tenant) -> list[str]:
    """The owners in the next command, which `tenant` needs."""
    before = len(counters.batches)
    while len(counters.batches) == before:
        assert (await limiter.check(tenant)).allowed
        await settle()
    return owners(counters.batches[before])


async def test_a_command_takes_along_what_others_will_need(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock
) -> None:
    acme, globex = limited("acme", 600), limited("globex", 600)
    assert set(await asked_for_in_the_next_minute(limiter, counters, clock, acme, globex)) == {"acme", "globex"}
    before = len(counters.batches)
    for _ in range(50):
        assert (await limiter.check(globex)).allowed
    assert len(counters.batches) == before, "its tokens came with the other one's"


async def test_a_command_that_is_not_billed_takes_nothing_along(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock
) -> None:
    limiter.share_counters(lambda minute: 1, lambda owner, window: None, is_billed=lambda: False)
    acme, globex = limited("acme", 600), limited("globex", 600)
    assert await asked_for_in_the_next_minute(limiter, counters, clock, acme, globex) == ["acme"]


async def test_first_tokens_of_all_are_a_command_a_group(clock: FakeClock, counters: StepwiseCounters) -> None:
    slots = FakeSlots()
    limiter = make(clock, counters, slots)
    many = tenants(GROUP_SIZE + 10, per_day=100_000)
    await limiter.warm(many)
    assert len(slots.questions) == 2, "one for each 2,000"
    assert [len(batch) for batch in counters.batches] == [GROUP_SIZE, 10]
    assert {debit.window.unit for _, debits in counters.batches[0] for debit in debits} == {"minute", "quarter", "day"}
    for tenant in many[::100]:
        assert (await limiter.check(tenant)).allowed
    assert len(counters.batches) == 2, "no request waits for its first token"
    await limiter.close()
    assert [len(batch) for batch in counters.batches[2:]] == [GROUP_SIZE, 10], "a command a group gives all back"
    assert counters.total("minute") + counters.total("quarter") == counters.total("day") == len(many[::100])


async def test_a_start_takes_at_once_what_the_other_processes_have_needed(
    clock: FakeClock, counters: StepwiseCounters
) -> None:
    slots = FakeSlots()
    limiter = make(clock, counters, slots)
    acme, *quiet = tenants(5)
    clock.set_server(125 - clock.server_time() % 900)  # in the third minute of a quarter of an hour
    [slot] = await slots.assign([acme.id])
    before = Window("minute", minute_at(clock.server_time()) - 1)
    await counters.debit([AccountDebits(Account(acme.id, slot), [Debit(before, 100)])])
    await limiter.warm([acme, *quiet])
    _, first, second = counters.batches
    assert (len(first), [account.owner for account, _ in second]) == (5, [acme.id])
    for _ in range(60):
        assert (await limiter.check(acme)).allowed
    assert len(counters.batches) == 3
    await limiter.close()
    assert counters.total("minute") + counters.total("quarter") == 100 + 60


@pytest.mark.parametrize("hour", [0, 1, 23])
async def test_a_start_takes_what_others_hold_of_the_day_for_no_demand(
    clock: FakeClock, counters: StepwiseCounters, hour: int
) -> None:
    """Each of sixteen that start one after the other reserves its part of a hundredth of the day, by those it sees."""
    slots, many, limiters = FakeSlots(), tenants(3, per_day=100_000), list[Limiter]()
    clock.set_server(86_400 - clock.server_time() % 86_400 + 3_600 * hour + 65)
    for _ in range(16):
        before = len(counters.batches)
        limiters.append(Limiter(counters, slots, server_now=clock.server_time, processes=lambda: len(limiters) + 1))
        await limiters[-1].warm(many)
        assert len(asking(counters.batches[before:])) == 1
    for limiter in limiters:
        await limiter.close()


# What waits for what.


async def test_a_tenant_does_not_wait_for_anothers_command(limiter: Limiter, counters: StepwiseCounters) -> None:
    acme, globex = limited("acme", 600), limited("globex", 600)
    counters.stepwise = True
    [first] = await ask(limiter, acme)
    [second] = await ask(limiter, globex)
    assert counters.waiting == 2
    counters.let_go(1)
    assert (await second).allowed
    assert not first.done()
    counters.let_go(0)
    assert (await first).allowed


async def test_so_many_commands_are_under_way_and_the_rest_shares_the_next_one(
    limiter: Limiter, counters: StepwiseCounters
) -> None:
    counters.stepwise = True
    tasks = []
    for tenant in tenants(6):
        tasks += await ask(limiter, tenant)
    assert counters.waiting == MAX_IN_FLIGHT == 2
    counters.let_go(0)
    await settle()
    assert counters.waiting == 2
    counters.let_go()
    assert all([(await task).allowed for task in tasks])
    first, second, third = asking(counters.batches)
    assert (first, second, third[:4]) == (["t0"], ["t1"], ["t2", "t3", "t4", "t5"])


async def test_what_becomes_due_as_both_commands_end_is_asked_for(limiter: Limiter, counters: StepwiseCounters) -> None:
    """Both are answered in one tick, and a request asks again before the tasks have gone."""
    acme, globex = limited("acme", 600), limited("globex", 600)

    async def ask_on(tenant: Tenant, requests: int) -> int:
        return sum([(await limiter.check(tenant)).allowed for _ in range(requests)])

    counters.gate.clear()
    tasks = [asyncio.create_task(ask_on(acme, 200))]
    await settle()
    tasks.append(asyncio.create_task(ask_on(globex, 1)))
    await settle()
    counters.gate.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == [200, 1]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_meter_is_part_of_another_command_as_soon_as_its_own_take_is_settled(
    limiter: Limiter, counters: StepwiseCounters, fails: bool
) -> None:
    """The first command has more to send, for another tenant. When that ends, it must not touch the second."""
    acme, globex = limited("acme", 600), limited("globex", 600)
    for tenant in (acme, globex):
        assert (await limiter.check(tenant)).allowed
    await counters.reset(counters.batches[1][0].account, [debit.window for debit in counters.batches[1][0].debits])
    counters.stepwise = True
    calls = len(counters.events)
    tasks = [asyncio.create_task(limiter.check(tenant, 20)) for tenant in (acme, globex)]
    await settle()
    counters.let_go(calls)  # acme's tokens; globex's counter is lost, which is to be repaired
    await settle()
    assert tasks[0].done()
    assert not tasks[1].done()
    held = limiter.meter_of(acme)
    again = asyncio.create_task(limiter.check(acme, held.minute + held.low + 1))
    await settle()
    assert counters.waiting == 2
    counters.failing_owners = {"globex"} if fails else set()
    counters.let_go(calls + 1)
    assert (await tasks[1]).unavailable is fails
    await settle()
    assert not again.done()
    assert len(counters.events) == calls + 3, "nothing was asked for twice"
    counters.let_go()
    assert (await again).allowed
    assert limiter.degraded is fails


async def test_a_member_that_goes_while_a_plan_is_under_way_leaves_nothing_behind(
    limiter: Limiter, counters: StepwiseCounters
) -> None:
    many = tenants(2 * STEP + 10)
    warming = asyncio.create_task(limiter.warm(many))
    while many[0].id not in limiter._meters.resting.taking:
        await asyncio.sleep(0)
    first, last = limiter._meters.find(many[0].id), limiter._meters.find(many[-1].id)
    assert first is not None and last is not None
    assert first.reservation.is_taking and not last.reservation.is_taking, "the plan goes on"
    gone = [first, last]
    await limiter._meters.groups.give_back(gone)
    await warming
    assert (await limiter.check(many[1])).allowed
    await settle()
    meters = [limiter._meters.find(tenant.id) for tenant in many]
    held = [meter.reservation.minute + meter.reservation.low for meter in meters if meter and meter not in gone]
    assert len(held) == len(many) - 2
    assert counters.total("minute") + counters.total("quarter") == sum(held) + 1, "both of them hold nothing"


async def test_renewing_all_at_a_quarters_edge_never_holds_the_loop(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tenants(5_000)
    await limiter.warm(many)
    clock.advance(900)
    turn, seen = 0, Counter[tuple[str, int, Any]]()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            seen[name, turn, asyncio.current_task()] += 1
            return real(*args, **options)

        return call

    for name in ("plan_along", "settle"):
        monkeypatch.setattr(Reservation, name, counted(name, getattr(Reservation, name)))
    one_of_each_group = many[::GROUP_SIZE]
    tasks = [asyncio.create_task(limiter.check(tenant, 50)) for tenant in one_of_each_group]
    await asyncio.sleep(0)
    finishing = asyncio.create_task(limiter._meters.groups.finish())
    while not finishing.done():
        turn += 1
        await asyncio.sleep(0)
    assert all([(await task).allowed for task in tasks])
    assert max(seen.values()) == STEP
    for name in ("plan_along", "settle"):
        assert sum(count for (which, _, _), count in seen.items() if which == name) >= 5_000 - 3
    assert len(asking(counters.batches)) == 2 * len(one_of_each_group), "first tokens, and one more command a group"


# What is left if something fails.


async def test_after_a_failure_only_what_is_needed_is_asked_for(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock
) -> None:
    acme, globex = limited("acme", 600), limited("globex", 600)
    for tenant in (acme, globex):
        for _ in range(100):
            assert (await limiter.check(tenant)).allowed
    clock.advance(60)
    counters.failing = True
    before = len(counters.batches)
    while (await limiter.check(acme)).allowed:
        pass
    clock.advance(1)
    assert not (await limiter.check(acme)).allowed
    failed = counters.batches[before:]
    assert [owners(batch) for batch in failed[1:]] == [["acme"]] * len(failed[1:])
    assert [debit.amount for debit in failed[-1][0].debits] == [1, 0], "a token of the minute, and nothing in advance"
    counters.failing = False
    clock.advance(1)
    before = len(counters.batches)
    assert (await limiter.check(acme)).allowed
    assert owners(counters.batches[before]) == ["acme"], "none has been answered yet"
    for tenant in (acme, globex):
        for _ in range(200):  # too many to be reserved in advance
            assert (await limiter.check(tenant)).allowed
    clock.advance(60)
    await settle()
    assert set(await asked_for_next(limiter, counters, acme)) == {"acme", "globex"}


async def test_after_a_failure_nothing_is_taken_along(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock
) -> None:
    """Nor for those that were no part of the command that failed."""
    acme, globex = limited("acme", 600), limited("globex", 600)
    for _ in range(100):
        assert (await limiter.check(acme)).allowed
    counters.failing = True
    before = len(counters.batches)
    assert (await limiter.check(globex)).unavailable
    clock.advance(60)
    counters.failing = False
    assert (await limiter.check(globex)).allowed
    assert [owners(batch) for batch in counters.batches[before:]] == [["globex"]] * 2


async def test_a_take_that_is_answered_in_part_has_failed(limiter: Limiter, counters: StepwiseCounters) -> None:
    counters.silent_units = {"minute", "quarter"}
    assert (await limiter.check(limited("acme", 600, 10_000))).unavailable
    assert len(counters.batches) == 1, "it is not asked again at once"


async def test_all_lines_behind_a_command_that_fails_are_answered(limiter: Limiter, counters: StepwiseCounters) -> None:
    counters.gate.clear()
    tasks = await ask(limiter, *tenants(5), *tenants(5))
    counters.failing = True
    counters.gate.set()
    decisions = [await task for task in tasks]
    assert {(decision.allowed, decision.unavailable) for decision in decisions} == {(False, True)}
    assert len(counters.batches) == 1


async def test_a_pause_is_of_one_group(clock: FakeClock, counters: StepwiseCounters) -> None:
    limiter = make(clock, counters, FakeSlots(apart=True))
    acme, globex = limited("acme", 600), limited("globex", 600)
    counters.failing_owners = {"acme"}
    for _ in range(2):
        assert (await limiter.check(acme)).unavailable
    calls = len(counters.batches)
    assert (await limiter.check(acme)).unavailable
    assert len(counters.batches) == calls, "acme's counters are not asked for a moment"
    assert (await limiter.check(globex)).allowed
    assert limiter.degraded
    counters.failing_owners.clear()
    clock.advance(1)
    assert (await limiter.check(acme)).allowed
    assert not limiter.degraded
    await limiter.close()


async def test_a_pause_is_of_those_whose_own_take_failed(
    limiter: Limiter, counters: StepwiseCounters, clock: FakeClock
) -> None:
    """They may lie in different stores: the day of one, and the minute of all."""
    acme, globex = limited("acme", 600), limited("globex", 600)
    counters.failing_owners = {"acme"}
    for _ in range(2):
        assert (await limiter.check(acme)).unavailable
    calls = len(counters.batches)
    assert (await limiter.check(acme)).unavailable
    assert len(counters.batches) == calls
    assert (await limiter.check(globex)).allowed
    assert owners(counters.batches[calls]) == ["globex"]
    assert limiter.degraded, "acme's last take has failed"
    counters.failing_owners.clear()
    clock.advance(1)
    assert (await limiter.check(acme)).allowed
    assert not limiter.degraded


@pytest.mark.parametrize("on_error", ["local", "deny"])
async def test_without_slots_new_tenants_are_refused_as_unavailable_and_known_ones_go_on(
    counters: StepwiseCounters, slots: FakeSlots, clock: FakeClock, on_error: OnError
) -> None:
    """A share of the limit is not admitted either: other processes, which know the slot, may be granted all of it."""
    limiter = make(clock, counters, slots, on_error)
    known, new = limited("acme", 600), limited("globex", 600)
    assert (await limiter.check(known)).allowed
    slots.failing = True
    decision = await limiter.check(new)
    assert (decision.allowed, decision.unavailable, decision.violated) == (False, True, ())
    assert decision.retry_after == 1.0
    for _ in range(100):
        assert (await limiter.check(known)).allowed
    assert (limiter.degraded, limiter.stats()["unavailable"]) == (True, 1)
    slots.failing = False
    clock.advance(1)
    assert (await limiter.check(new)).allowed
    assert not limiter.degraded
    await limiter.close()


async def test_requests_that_give_up_while_they_wait_for_a_slot_take_nothing(
    limiter: Limiter, counters: StepwiseCounters, slots: FakeSlots
) -> None:
    slots.gate.clear()
    first, second = await ask(limiter, *[limited("acme", 2)] * 2)
    first.cancel()
    await settle()
    slots.gate.set()
    assert (await second).allowed
    assert (await limiter.check(limited("acme", 2))).allowed
    assert not (await limiter.check(limited("acme", 2))).allowed


async def test_a_command_without_an_answer_is_spent_and_ends(clock: FakeClock, counters: StepwiseCounters) -> None:
    """A task that is cancelled, as by a loop that is closed, leaves no meter that waits for it."""
    limiter = make(clock, counters, FakeSlots())
    acme = limited("acme", 600)
    counters.gate.clear()
    [waiting] = await ask(limiter, acme)
    [group] = limiter._meters.groups
    for task in group.tasks:
        task.cancel()
    decision = await waiting
    assert (decision.allowed, decision.unavailable) == (False, True)
    counters.gate.set()
    assert (await limiter.check(acme)).allowed
    await limiter.close()


# Ends.


async def test_a_stop_waits_for_slots_and_for_commands(
    limiter: Limiter, counters: StepwiseCounters, slots: FakeSlots
) -> None:
    acme, globex = limited("acme", 600), limited("globex", 600)
    counters.gate.clear()
    [first] = await ask(limiter, acme)
    slots.gate.clear()
    [second] = await ask(limiter, globex)
    closing = asyncio.create_task(limiter.close())
    await settle()
    assert not closing.done()
    slots.gate.set()
    await settle()
    assert not closing.done()
    counters.gate.set()
    await closing
    assert (await first).allowed
    assert (await second).allowed
    assert counters.total("minute") + counters.total("quarter") == 2


async def test_a_stop_is_a_command_for_each_group(clock: FakeClock, counters: StepwiseCounters) -> None:
    limiter = make(clock, counters, FakeSlots(apart=True))
    for tenant in tenants(3):
        assert (await limiter.check(tenant)).allowed
    before = len(counters.batches)
    await limiter.close()
    assert [owners(batch) for batch in counters.batches[before:]] == [["t0"], ["t1"], ["t2"]]


async def test_a_forked_copy_knows_no_group(limiter: Limiter, counters: StepwiseCounters, slots: FakeSlots) -> None:
    acme = limited("acme", 600)
    assert (await limiter.check(acme)).allowed
    limiter.forget()
    assert list(limiter._meters.groups) == []
    assert (await limiter.check(acme)).allowed
    assert slots.questions == [("acme",)] * 2
    assert len(asking(counters.batches)) == 2


@pytest.mark.parametrize("stuck", ["slots", "counters"])
def test_a_second_event_loop_goes_on(clock: FakeClock, stuck: str) -> None:
    """The first one is closed while something is asked whose answer cannot come any more."""
    counters, slots = FakeCounters(), FakeSlots()
    limiter = make(clock, counters, slots)
    acme, globex = limited("acme", 600), limited("globex", 600)
    gate = slots.gate if stuck == "slots" else counters.gate

    async def in_first() -> None:
        assert (await limiter.check(globex)).allowed
        gate.clear()
        await ask(limiter, acme)

    async def in_second() -> None:
        limiter.leave_loop()
        async with asyncio.timeout(5):
            assert (await limiter.check(acme)).allowed
            for _ in range(100):
                assert (await limiter.check(globex)).allowed
            await limiter.close()

    asyncio.run(in_first())
    gate.set()
    asyncio.run(in_second())
