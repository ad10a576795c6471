"""`UseStore`, on a real Postgres and in memory."""

from __future__ import annotations

from uuid import UUID

import pytest

from tenantcache.budget.core.meter import Purpose
from tenantcache.budget.usestore import UseRow, UseStore
from tests.contracts.worlds import World

ONE, OTHER, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)
HOUR = 472_222  # 2023-11-14 22:00 UTC


@pytest.fixture
def use(world: World) -> UseStore:
    return world.redis_usage


def take(billed: int, hour: int = HOUR) -> UseRow:
    return UseRow(hour, Purpose.RESERVATION, billed)


async def seen_by(use: UseStore, process_id: UUID, since: int = HOUR) -> list[UseRow]:
    return sorted(await use.exchange(process_id, [], since), key=lambda row: (row.hour, row.purpose.value))


async def test_others_are_added_up_by_hour_and_purpose(use: UseStore) -> None:
    await use.exchange(ONE, [take(5), UseRow(HOUR, Purpose.LOOKUP, 1), take(7, HOUR + 1)], HOUR)
    await use.exchange(OTHER, [take(2)], HOUR)
    assert await seen_by(use, THIRD) == [UseRow(HOUR, Purpose.LOOKUP, 1), take(7), take(7, HOUR + 1)]


async def test_a_process_is_told_of_the_others_alone(use: UseStore) -> None:
    assert await use.exchange(ONE, [take(5)], HOUR) == []
    assert await use.exchange(OTHER, [take(2)], HOUR) == [take(5)]
    assert await use.exchange(ONE, [take(6)], HOUR) == [take(2)]


async def test_totals_that_are_written_again_count_once(use: UseStore) -> None:
    for billed in (5, 5, 8, 3):  # the last one comes late
        await use.exchange(ONE, [take(billed)], HOUR)
    assert await seen_by(use, OTHER) == [take(8)]


async def test_only_hours_from_the_given_one_on_are_read(use: UseStore) -> None:
    await use.exchange(ONE, [take(1, HOUR - 1), take(2), take(3, HOUR + 1)], HOUR)
    assert await seen_by(use, OTHER, HOUR) == [take(2), take(3, HOUR + 1)]
    assert await seen_by(use, OTHER, 0) == [take(1, HOUR - 1), take(2), take(3, HOUR + 1)]


async def test_old_hours_are_dropped(use: UseStore) -> None:
    await use.exchange(ONE, [take(1, HOUR - 1), take(2)], HOUR)
    await use.drop_before(HOUR)
    assert await seen_by(use, OTHER, 0) == [take(2)]


async def test_each_purpose_can_be_written(use: UseStore) -> None:
    rows = [UseRow(HOUR, purpose, 2**40) for purpose in Purpose]
    await use.exchange(ONE, rows, HOUR)
    assert set(await seen_by(use, OTHER)) == set(rows)
