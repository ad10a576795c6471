"""Slots that are renewed: they are known to be in use, and an account whose slot is another's now begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantcache import Settings, TenantCache
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.upkeep import SLOT_INTERVAL, SWEEP_INTERVAL
from tenantcache.wiring.stores import Stores
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, FakeSlots, limited, row

ACME, GLOBEX = limited("acme", 600), limited("globex", 600)


class RestoredSlots(FakeSlots):
    """Those of a database that was put back: after `give` an owner has another slot."""

    def give(self, owner: str, slot: int) -> None:
        self._slots[owner] = slot


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> FakeCounters:
    return FakeCounters()


@pytest.fixture
def slots() -> RestoredSlots:
    return RestoredSlots()


@pytest.fixture
async def limiter(
    clock: FakeClock, counters: FakeCounters, slots: RestoredSlots, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Limiter]:
    """Both tenants have sent a request. It looks after its slots whenever it can."""
    monkeypatch.setattr("tenantcache.ratelimit.upkeep.SURPLUS_INTERVAL", 0.0)
    limiter = Limiter(counters, slots, server_now=clock.server_time, processes=lambda: 1)
    limiter.open()
    for tenant in (ACME, GLOBEX):
        assert (await limiter.check(tenant)).allowed
    slots.questions.clear()
    yield limiter
    await limiter.close()


async def settle() -> None:
    """Let every task run until it waits for something, and the limiter's look once or twice."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_slots_are_asked_for_again_every_three_days(
    limiter: Limiter, clock: FakeClock, slots: RestoredSlots
) -> None:
    for _ in range(2):
        clock.advance(SLOT_INTERVAL - 1)
        await settle()
        assert slots.questions == []
        clock.advance(1)
        await settle()
        assert slots.questions == [("acme", "globex")]
        slots.questions.clear()


async def test_a_database_that_does_not_answer_is_asked_again_in_a_minute(
    limiter: Limiter, clock: FakeClock, slots: RestoredSlots
) -> None:
    held = [limiter.meter_of(tenant) for tenant in (ACME, GLOBEX)]
    slots.failing = True
    clock.advance(SLOT_INTERVAL)
    await settle()
    assert len(slots.questions) == 1
    slots.failing = False
    clock.advance(SWEEP_INTERVAL - 1)
    await settle()
    assert len(slots.questions) == 1
    clock.advance(1)
    await settle()
    assert len(slots.questions) == 2
    assert [limiter.meter_of(tenant) for tenant in (ACME, GLOBEX)] == held


async def test_an_account_whose_slot_is_anothers_begins_anew(
    limiter: Limiter, counters: FakeCounters, slots: RestoredSlots
) -> None:
    old, kept = limiter.meter_of(ACME), limiter.meter_of(GLOBEX)
    tokens = old.minute + old.low
    assert tokens > 0
    slots.give("acme", 7)
    await settle()
    assert limiter.meter_of(ACME) is old, "it is not known yet"
    calls = len(counters.batches)
    limiter.upkeep.check_slots()
    await settle()
    assert old.released, "its tokens are not spent"
    assert limiter.meter_of(GLOBEX) is kept
    assert len(counters.batches) == calls, "and they do not go back: the counters are another account's"
    assert sorted((owner, [one.tokens for one in spent]) for owner, spent in limiter.drain()) == [
        ("acme", [1]),
        ("globex", [1]),
    ], "what was spent is usage"
    assert (await limiter.check(ACME)).allowed
    account, debits = counters.batches[calls][0]
    assert (account.owner, account.slot) == ("acme", 7)
    assert debits[0].amount > 0


async def test_slots_are_checked_when_the_database_has_another_history(
    clock: FakeClock, slots: RestoredSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantcache.ratelimit.upkeep.SURPLUS_INTERVAL", 0.0)
    database = FakeDatabase(clock, row("acme", limit_per_minute=600))
    stores = Stores(database, database, database, FakeCounters(), slots=slots)
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:1/none", base_domains=["example.com"])
    async with TenantCache(settings, stores=stores, clock=clock) as cache:
        tenant = await cache.resolve("acme.example.com")
        assert tenant is not None
        assert (await cache.check(tenant)).allowed
        slots.questions.clear()
        await cache.sync()
        await settle()
        assert slots.questions == []
        database.epoch = "restored"
        await cache.sync()
        await settle()
        assert slots.questions == [("acme",)]
