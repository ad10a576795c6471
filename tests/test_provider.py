"""The provider's figure as the truth: which process asks, when, and how our own count goes on from it."""

from __future__ import annotations

import logging

import pytest

from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.budget.core.period import Period
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.provider import ASK_EVERY, NOT_BEFORE, ProviderError, ProviderWatch
from tenantcache.testing.redisusage import MemoryRedisUsage
from tests.fakes import FakeClock

TAKE = Command(Purpose.RESERVATION, ("BITFIELD", "a"))


class FakeProvider:
    def __init__(self) -> None:
        self.billed, self.asked = 50_000, 0
        self.error: ProviderError | None = None

    async def read(self) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.billed


class Process:
    def __init__(self, store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock) -> None:
        self.meter, watch = Meter(), ProviderWatch(provider, store)
        self.use = FleetUse(store, self.meter, server_now=clock.server_time, provider=watch)

    async def read_all(self) -> None:
        self.use._until_read_all = 0
        await self.use.report()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryRedisUsage:
    return MemoryRedisUsage(clock.server_time)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


async def test_our_count_goes_on_from_the_providers_in_proportion(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock
) -> None:
    process = Process(store, provider, clock)
    process.meter.send([TAKE] * 10_000)
    assert process.use.used == 10_000
    await process.use.report()
    assert process.use.used == 50_000
    process.meter.send([TAKE] * 7)
    assert process.use.used == 50_035
    found = process.use.summary()
    assert (found.used, found.counted) == (50_035, 10_007)
    assert found.cost == pytest.approx(0.10007)
    assert found.provider is not None and found.provider.billed == 50_000
    assert found.forecast.expected > found.used


@pytest.mark.parametrize("seconds", [ASK_EVERY.total_seconds() - 1, ASK_EVERY.total_seconds() + 1])
async def test_one_process_asks_every_few_hours(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock, seconds: float
) -> None:
    processes = [Process(store, provider, clock) for _ in range(3)]
    for process in processes:
        await process.read_all()
    assert (provider.asked, [process.use.used for process in processes]) == (1, [50_000] * 3)
    provider.billed = 60_000
    clock.advance(seconds)
    for process in reversed(processes):
        await process.read_all()
    is_due = seconds > ASK_EVERY.total_seconds()
    assert provider.asked == 1 + is_due
    assert {process.use.used for process in processes} == {60_000 if is_due else 50_000}


async def test_a_provider_that_does_not_say_leaves_our_count(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(store, provider, clock)
    process.meter.send([TAKE] * 10)
    provider.error = ProviderError("it rejects the credentials")
    await process.read_all()
    assert (process.use.used, process.use.bill) == (10, None)
    assert [record.levelno for record in caplog.records if "rejects" in record.getMessage()] == [logging.WARNING]


async def test_the_last_periods_figure_is_not_this_ones(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock
) -> None:
    process = Process(store, provider, clock)
    await process.read_all()
    assert process.use.used == 50_000
    clock.advance(process.use.period.end - clock.server_time() + NOT_BEFORE - 1)
    assert (process.use.used, process.use.bill) == (0, None)
    await process.read_all()
    assert (process.use.used, provider.asked) == (0, 1), "it may not have begun anew there"
    provider.billed = 3
    clock.advance(2)
    await process.read_all()
    assert (process.use.used, provider.asked) == (3, 2)


async def test_days_are_not_what_the_provider_counts(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock
) -> None:
    use = FleetUse(store, Meter(), server_now=clock.server_time, unit="day", provider=ProviderWatch(provider, store))
    await use.report()
    assert (use.used, provider.asked) == (0, 0)


@pytest.mark.parametrize(
    ("billed", "counted", "now", "expected"),
    [
        (2_000, 1_000, 1_000, 2_000),
        (2_000, 1_000, 1_500, 3_000),
        (900, 1_000, 2_000, 1_800),  # it bills less than we thought
        (500, 0, 10, 510),
        (500, 999, 1_009, 510),  # too little to tell
        (500, 2_000, 1_900, 500),  # a process has not told of what it sent
    ],
)
def test_the_correction(billed: int, counted: int, now: int, expected: float) -> None:
    assert ProviderBill(0.0, 0, billed, counted).correct(now) == pytest.approx(expected)


async def test_the_figure_of_another_period_in_the_store_is_left_alone(
    store: MemoryRedisUsage, provider: FakeProvider, clock: FakeClock
) -> None:
    watch = ProviderWatch(provider, store)
    await store.write_bill(ProviderBill(0.0, 86_400, 7, 7))
    await watch.update(NOT_BEFORE - 1, Period(0, 86_400), lambda: 0)
    assert watch.bill is None
