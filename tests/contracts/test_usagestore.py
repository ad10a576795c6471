"""`UsageStore`, on a real Postgres and in memory."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tenantcache.admin.usagestore import UsageDay, UsageRow, UsageStore, UsageTotal
from tenantcache.errors import RejectedError
from tests.contracts.worlds import World

ONE, OTHER = UUID(int=1), UUID(int=2)
TODAY = 19_675
DATE = date(2023, 11, 14)
NOON = TODAY * 86_400 + 43_200.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def usage(world: World) -> UsageStore:
    return world.usage


async def requests(usage: UsageStore, tenant_id: str = "acme") -> list[int]:
    return [day.requests for day in await usage.read(tenant_id, date(1970, 1, 1))]


async def test_requests_are_added_up_by_tenant_and_day(usage: UsageStore) -> None:
    await usage.add(
        ONE, 1, [UsageRow("acme", TODAY, 5, NOON), UsageRow("globex", TODAY, 1, NOON), UsageRow("acme", 0, 2, 7.5)]
    )
    await usage.add(ONE, 2, [UsageRow("acme", TODAY, 3, NOON + 1)])
    assert await usage.read("acme", date(1970, 1, 1)) == [
        UsageDay(date(1970, 1, 1), 2, at(7.5)),
        UsageDay(DATE, 8, at(NOON + 1)),
    ]
    assert await usage.read("globex", DATE) == [UsageDay(DATE, 1, at(NOON))]
    assert await usage.read("unknown", DATE) == []


async def test_it_is_read_from_a_day_on_oldest_first(usage: UsageStore) -> None:
    await usage.add(ONE, 1, [UsageRow("acme", TODAY - age, age + 1, NOON) for age in (0, 2, 1, 3)])
    assert [day.requests for day in await usage.read("acme", date(2023, 11, 12))] == [3, 2, 1]
    assert await usage.read("acme", date(2023, 11, 15)) == []


async def test_a_batch_that_is_sent_again_counts_once(usage: UsageStore) -> None:
    for batch in (1, 1, 2, 2, 1):
        await usage.add(ONE, batch, [UsageRow("acme", TODAY, 5, NOON)])
    assert await requests(usage) == [10]


async def test_processes_number_their_batches_themselves(usage: UsageStore) -> None:
    for process in (ONE, OTHER):
        await usage.add(process, 1, [UsageRow("acme", TODAY, 5, NOON)])
    assert await requests(usage) == [10]


async def test_a_process_that_leaves_takes_nothing_along(usage: UsageStore) -> None:
    await usage.add(ONE, 1, [UsageRow("acme", TODAY, 5, NOON)])
    await usage.leave(ONE)
    await usage.leave(OTHER)
    assert await requests(usage) == [5]


@pytest.mark.parametrize(
    "row",
    [
        UsageRow("big", TODAY, 2**63, NOON),
        UsageRow("full", TODAY, 1, NOON),
        UsageRow("nul\0", TODAY, 1, NOON),
        UsageRow("half\ud800", TODAY, 1, NOON),
        UsageRow("late", 10**9, 1, NOON),
    ],
    ids=lambda row: ascii(row.tenant_id),
)
async def test_of_a_batch_with_a_row_that_cannot_be_added_none_is(usage: UsageStore, row: UsageRow) -> None:
    await usage.add(ONE, 1, [UsageRow("full", TODAY, 2**63 - 1, NOON)])
    others = [UsageRow(tenant_id, TODAY, 1, NOON) for tenant_id in ("before", "zz after")]
    with pytest.raises(RejectedError):
        await usage.add(ONE, 2, [others[0], row, others[1]])
    assert await requests(usage, "before") == await requests(usage, "zz after") == []
    await usage.add(ONE, 2, others)
    assert await requests(usage, "before") == await requests(usage, "zz after") == [1]


async def test_last_seen_never_goes_back(usage: UsageStore) -> None:
    for batch, seen_at in enumerate((NOON, NOON - 60)):
        await usage.add(ONE, batch, [UsageRow("acme", TODAY, 1, seen_at)])
    assert await usage.read("acme", DATE) == [UsageDay(DATE, 2, at(NOON))]


async def test_nothing_is_seen_after_its_day_has_ended_everywhere(usage: UsageStore) -> None:
    await usage.add(ONE, 1, [UsageRow("acme", TODAY, 1, NOON + 10 * 86_400)])
    assert await usage.read("acme", DATE) == [UsageDay(DATE, 1, datetime(2023, 11, 15, 12, tzinfo=UTC))]


async def test_when_tenants_were_last_seen(usage: UsageStore) -> None:
    rows = [UsageRow("acme", TODAY, 1, NOON), UsageRow("acme", TODAY - 1, 1, NOON - 86_400)]
    await usage.add(ONE, 1, [*rows, UsageRow("globex", TODAY, 1, NOON + 1), UsageRow("initech", TODAY, 1, NOON)])
    assert await usage.last_seen(["globex", "acme", "unknown"]) == {"acme": at(NOON), "globex": at(NOON + 1)}
    assert await usage.last_seen([]) == {}


async def test_the_busiest_tenants_of_some_days(usage: UsageStore) -> None:
    rows = [UsageRow("acme", TODAY - age, 10, NOON - age * 86_400) for age in range(4)]
    await usage.add(ONE, 1, [*rows, UsageRow("globex", TODAY, 30, NOON), UsageRow("initech", TODAY - 1, 20, NOON)])
    since = DATE - timedelta(days=2)
    assert await usage.busiest(since, DATE - timedelta(days=1), 10) == [
        UsageTotal("acme", 20, 2, at(NOON - 86_400)),
        UsageTotal("initech", 20, 1, at(NOON)),
    ]
    assert [total.tenant_id for total in await usage.busiest(since, DATE, 2)] == ["acme", "globex"]
    assert await usage.busiest(date(1970, 1, 1), date(1970, 1, 2), 10) == []
    assert sum(total.requests for total in await usage.busiest(date.min, date.max, 10)) == 90


async def test_all_tenants_by_day(usage: UsageStore) -> None:
    rows = [UsageRow("acme", TODAY - age, age, NOON - age * 86_400) for age in (3, 2, 1)]
    await usage.add(ONE, 1, [*rows, UsageRow("globex", TODAY - 2, 5, NOON - 2 * 86_400 + 1)])
    assert await usage.by_day(DATE - timedelta(days=2), DATE) == [
        UsageDay(DATE - timedelta(days=2), 7, at(NOON - 2 * 86_400 + 1)),
        UsageDay(DATE - timedelta(days=1), 1, at(NOON - 86_400)),
    ]
    assert await usage.by_day(DATE, DATE) == []


async def test_sums_may_be_larger_than_what_a_row_holds(usage: UsageStore) -> None:
    largest = 2**63 - 1
    await usage.add(ONE, 1, [UsageRow(tenant_id, TODAY, largest, NOON) for tenant_id in ("acme", "globex")])
    [day] = await usage.by_day(DATE, DATE)
    assert day.requests == 2 * largest
