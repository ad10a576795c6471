"""A minute is counted in steps, for other counters to go on from, while requests are served. What they are served with
was counted, whatever they do to the meters meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantcache.errors import StoreError
from tenantcache.ratelimit import granted as granted_tokens
from tenantcache.ratelimit import resting
from tenantcache.ratelimit.core.windows import QUARTER, Debit, Window, minute_at, quarter_of
from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.meters import IDLE
from tenantcache.tenant import Tenant
from tests.fakes import FakeClock, FakeCounters, FakeSlots, limited

PER_MINUTE = 600
MANY = [limited(f"t{number}", PER_MINUTE) for number in range(6)]


class Counters(FakeCounters):
    """Once the minute is given up they may not be asked. What they were asked before is answered."""

    is_given_up = False

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        if self.is_given_up:
            raise StoreError("the minute is given up")
        return await super().debit(batch)


class Process:
    """One that has first tokens of `MANY`, and has served some; the minute is not its first one."""

    def __init__(self) -> None:
        self.clock, self.counters = FakeClock(), Counters()
        self.clock.advance(QUARTER - self.clock.server_time() % QUARTER + 1)
        self.cached = {tenant.id for tenant in MANY}
        self.limiter = Limiter(
            self.counters,
            FakeSlots(),
            server_now=self.clock.server_time,
            processes=lambda: 1,
            on_error="deny",
            is_cached=self.cached.__contains__,
        )
        self.version: int | None = 1
        self.limiter.share_counters(lambda minute: self.version, lambda owner, window: None, lambda: True)
        self.admitted: Counter[str] = Counter()
        self.debited: dict[str, int] = {}
        self.granted: dict[str, int] = {}
        self.steps: Iterator[None] = iter(())

    async def start(self) -> None:
        await self.limiter.warm(MANY)
        self.clock.advance(IDLE + 60)

    def give_up(self) -> None:
        self.debited = {tenant.id: self._debited(tenant) for tenant in MANY}
        self.steps = self.limiter.hand_over(self.granted)
        self.version, self.counters.is_given_up = None, True

    async def do(self, action: str, tenant: Tenant) -> None:
        meters = self.limiter._meters
        match action:
            case "ask":
                await self.ask(tenant)
            case "ask for much":
                await self.ask(tenant, 20)
            case "come in line":
                self.counters.gate.clear()
                waiting = asyncio.create_task(self.ask(tenant, 200))
                await asyncio.sleep(0)
                self.give_up_unless_done()
                self.counters.gate.set()
                await waiting
            case "rest":
                if (meter := meters.of_tenants.get(tenant.id)) is not None:
                    meters.groups.rest(meter)
            case "wake":
                meters.find(tenant.id)
            case "wake all but the first" | "wake all but the last":
                owners = [*meters.resting.owners()]
                for owner in owners[1:] if action.endswith("first") else owners[:-1]:
                    meters.find(owner)
            case "drop":
                self.cached.discard(tenant.id)
                await self.limiter.upkeep.sweep()
            case "cut":
                self.limiter.update(limited(tenant.id, 3))
            case "return":
                self.limiter.upkeep.return_surplus()
            case _:
                self.give_up_unless_done()
                next(self.steps, None)
        await self._settle()

    def give_up_unless_done(self) -> None:
        if self.version is not None:
            self.give_up()

    async def ask(self, tenant: Tenant, cost: int = 1) -> bool:
        is_allowed = (await self.limiter.check(tenant, cost)).allowed
        self.admitted[tenant.id] += cost * is_allowed
        return is_allowed

    async def _settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        await self.limiter._meters.groups.finish()

    async def finish(self) -> None:
        """Count to the end, and spend all that is left."""
        self.give_up_unless_done()
        for _ in self.steps:
            pass
        for tenant in MANY:
            while await self.ask(tenant):
                pass

    def _debited(self, tenant: Tenant) -> int:
        """What the counters have of the minute."""
        minute = minute_at(self.clock.server_time())
        windows = Window("minute", minute), Window("quarter", quarter_of(minute))
        return sum(self.counters.add(tenant.id, Debit(window, 0)) for window in windows)


ACTIONS = ("ask", "ask for much", "come in line", "rest", "wake", "drop", "cut", "return", "step", "step", "step")


async def _hand_over(actions: Sequence[tuple[str, int]]) -> Process:
    process = Process()
    await process.start()
    for action, number in actions:
        await process.do(action, MANY[number])
    await process.finish()
    return process


def hand_over(actions: Sequence[tuple[str, int]]) -> Process:
    """One meter a step."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(granted_tokens, "STEP", 1)
        monkeypatch.setattr(resting, "STEP", 1)
        return asyncio.run(_hand_over(actions))


ALL = range(len(MANY))
WAKE, REST = [("wake", number) for number in ALL], [("rest", number) for number in ALL]
AT_REST = [*WAKE, *REST]
"""With what is reserved of this minute."""
STEPS = [("step", 0)] * 3


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, len(MANY) - 1)), max_size=25))
@example([*AT_REST, *STEPS, *WAKE])
@example([*WAKE, *STEPS, *REST])
def test_whatever_is_admitted_was_counted_and_nothing_twice(actions: list[tuple[str, int]]) -> None:
    process = hand_over(actions)
    for tenant in MANY:
        assert process.admitted[tenant.id] <= process.granted.get(tenant.id, 0) <= process.debited[tenant.id]


def test_one_at_rest_that_leaves_before_its_turn_is_counted() -> None:
    """A request wakes it."""
    process = hand_over([*AT_REST, *STEPS, *WAKE])
    assert process.granted == process.debited == process.admitted


@pytest.mark.parametrize("kept", ["first", "last"])
def test_a_live_one_that_goes_to_rest_is_counted_once(kept: str) -> None:
    """Whether the turn of its place among those at rest is still to come, or over."""
    process = hand_over([*AT_REST, (f"wake all but the {kept}", 0), ("step", 0), *REST])
    assert process.granted == process.debited == process.admitted
