"""What a fleet knows of its use of Redis, on a store in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tenantcache.budget import fleetuse
from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.budget.core.prices import tariff_of
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.usestore import UseRow
from tenantcache.errors import SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.testing.redisusage import MemoryRedisUsage
from tests.fakes import FakeClock, until

TAKE, LOOKUP = Command(Purpose.RESERVATION, ("BITFIELD", "a")), Command(Purpose.LOOKUP, ("GET", "a"))

START = datetime(2026, 11, 30, 23, 30, tzinfo=UTC).timestamp()
"""Half an hour before the end of a month."""


class FailingUsage(MemoryRedisUsage):
    """While `failing` it writes nothing. `losing`: only the answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = self.losing = False
        self.error: Exception = StoreError("the fake store is unavailable")
        self.asked: list[tuple[list[UseRow], int]] = []

    async def exchange(self, process_id: UUID, rows: Sequence[UseRow], since: int) -> list[UseRow]:
        self.asked.append((list(rows), since))
        if self.failing:
            raise self.error
        found = await super().exchange(process_id, rows, since)
        if self.losing:
            raise self.error
        return found


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.set_server(START - clock.server_time())
    return clock


@pytest.fixture
def store() -> FailingUsage:
    return FailingUsage()


class Process:
    def __init__(self, store: FailingUsage | None, clock: FakeClock, **options: Any) -> None:
        self.meter = Meter(tariff_of("per-command"))
        self.use = FleetUse(store, self.meter, server_now=clock.server_time, **options)

    def send(self, commands: int, command: Command = TAKE) -> None:
        self.meter.send([command] * commands)


async def test_use_of_all_processes_is_added_up(store: FailingUsage, clock: FakeClock) -> None:
    first, second = Process(store, clock), Process(store, clock)
    first.send(5)
    second.send(7, LOOKUP)
    assert (first.use.used, second.use.used) == (5, 7)
    await first.use.report()
    await second.use.report()
    assert (first.use.used, second.use.used) == (5, 12)
    await first.use.report()
    assert first.use.used == 12
    assert {purpose: n for purpose, n in first.use.by_purpose().items() if n} == {
        Purpose.RESERVATION: 5,
        Purpose.LOOKUP: 7,
    }
    second.send(1)
    assert (first.use.used, second.use.used) == (12, 13), "what is not reported yet is known where it was sent"
    assert (second.use.own, second.use.unreported) == (8, 1)


async def test_an_answer_that_was_lost_counts_once(store: FailingUsage, clock: FakeClock) -> None:
    first, second = Process(store, clock), Process(store, clock)
    first.send(5)
    store.losing = True
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await first.use.report()
    store.losing = False
    first.send(1)
    await first.use.report()
    await second.use.report()
    assert (first.use.used, second.use.used) == (6, 6)


async def test_only_what_has_changed_is_written(store: FailingUsage, clock: FakeClock) -> None:
    process = Process(store, clock)
    process.send(5)
    await process.use.report()
    await process.use.report()
    assert [len(rows) for rows, _ in store.asked] == [1, 0]


async def test_a_new_period_begins_at_zero(store: FailingUsage, clock: FakeClock) -> None:
    first, second = Process(store, clock), Process(store, clock)
    first.send(5)
    second.send(7)
    await first.use.report()
    await second.use.report()
    await first.use.report()
    november = first.use.period
    clock.advance(1_800 - 0.5)
    first.send(3)  # within the last minute, and looked at after it
    assert first.use.used == 15
    clock.advance(0.5)
    assert first.use.used == 0
    await first.use.report()  # as at the edge of each minute
    assert first.use.period.start == november.end
    first.send(2)
    await first.use.report()
    await second.use.report()
    assert (first.use.used, second.use.used) == (2, 2)
    assert first.use.forecast.expected > 2 * 24, "November tells what December will be"


@pytest.mark.parametrize(("options", "later", "expected"), [({"unit": "day"}, 1_800, 0), ({"first_day": 15}, 1_800, 5)])
async def test_other_periods(clock: FakeClock, options: dict[str, Any], later: float, expected: int) -> None:
    process = Process(None, clock, **options)
    process.send(5)
    assert process.use.used == 5
    clock.advance(later)
    assert process.use.used == expected


@pytest.mark.parametrize("error", [StoreError("permission denied"), SchemaMissingError("run `tenantcache init`")])
async def test_without_a_store_it_goes_on_with_its_own_use(
    store: FailingUsage, clock: FakeClock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    process, other = Process(store, clock), Process(store, clock)
    other.send(4)
    await other.use.report()
    store.failing, store.error = True, error
    process.send(5)
    caplog.set_level(logging.INFO, "tenantcache.budget.fleetuse")
    for _ in range(3):
        await process.use._try_to_report()
    assert process.use.used == 5
    [told] = caplog.records
    assert told.levelno == logging.WARNING and str(error) in told.getMessage()
    assert process.use.summary().read_at is None
    store.failing = False
    for _ in range(2):
        await process.use._try_to_report()
    assert (process.use.used, process.use.unreported) == (9, 0)
    assert caplog.messages[1:] == ["what the fleet uses of Redis is known again"]


async def test_an_hour_that_was_written_late_is_read_within_the_next(store: FailingUsage, clock: FakeClock) -> None:
    first, second = Process(store, clock, unit="day"), Process(store, clock, unit="day")
    clock.advance(1_800)
    store.failing = True
    await second.use._try_to_report()
    second.send(7)
    await second.use._try_to_report()
    clock.advance(4 * 3_600)
    store.failing = False
    await first.use.report()
    await second.use.report()  # of four hours ago
    for _ in range(fleetuse.READ_ALL_EVERY):
        await first.use.report()
        assert first.use.used == 0
    await first.use.report()
    assert first.use.used == 7


async def test_a_forked_child_reports_nothing_of_its_parents(store: FailingUsage, clock: FakeClock) -> None:
    process = Process(store, clock)
    process.send(5)
    await process.use.report()
    process.send(3)
    process.use.forget()  # in the child
    assert process.use.own == 0
    process.send(1)
    await process.use.report()
    assert (process.use.own, process.use.used) == (1, 6)


async def test_a_forked_child_counts_what_its_parent_has_reported_hours_ago(
    store: FailingUsage, clock: FakeClock
) -> None:
    clock.advance(24 * 3_600)
    process = Process(store, clock)
    process.send(5)
    await process.use.report()
    clock.advance(3 * 3_600)
    await process.use.report()
    process.use.forget()  # in the child
    await process.use.report()
    assert process.use.used == 5


async def test_it_reports_at_once_when_more_may_not_be_unreported(
    store: FailingUsage, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleetuse, "LEAST_INTERVAL", 0.0)
    process, reports = Process(store, clock), []
    process.use.on_report = lambda: reports.append(process.use.unreported)
    process.use.open()
    process.use.max_unreported = 10
    await until(lambda: len(reports) == 1)
    process.send(9)
    process.send(0)
    assert process.use.unreported == 9
    process.send(1)
    await until(lambda: len(reports) == 2)
    assert process.use.unreported == 0
    await process.use.close()
    assert [rows for rows, _ in store.asked if rows] == [[UseRow(int(START // 3_600), Purpose.RESERVATION, 10)]]


async def test_a_stop_reports_the_rest(store: FailingUsage, clock: FakeClock) -> None:
    process, other = Process(store, clock), Process(store, clock)
    process.use.open()
    await until(lambda: bool(store.asked))
    process.send(5)
    await process.use.close()
    await process.use.close()
    await other.use.report()
    assert other.use.used == 5


async def test_a_stop_without_a_store_raises_nothing(store: FailingUsage, clock: FakeClock) -> None:
    process = Process(store, clock)
    process.use.open()
    store.failing = True
    process.send(5)
    await process.use.close()


async def test_the_summary_is_ready_for_json(clock: FakeClock) -> None:
    process = Process(None, clock, budget=100)
    process.send(30)
    process.send(20, LOOKUP)
    found = process.use.summary()
    assert (found.used, found.limit, found.share) == (50, 100, 0.5)
    assert found.cost == pytest.approx(0.0001)
    told = json.loads(json.dumps(found.as_dict()))
    assert told["by_purpose"][0] == {"purpose": "lookup", "billed": 20, "cost": pytest.approx(0.00004)}
    assert told["by_command"] == [
        {"name": "BITFIELD", "commands": 30, "billed": 30},
        {"name": "GET", "commands": 20, "billed": 20},
    ]
    assert told["period_end"] - told["period_start"] == 30 * 86_400
    assert told["forecast"]["expected"] == 75
    with pytest.raises(AttributeError):
        found.used = 1  # type: ignore[misc]
