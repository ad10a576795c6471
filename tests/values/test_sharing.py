"""Which values are worth a write to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from tenantcache.budget.core.bands import Band, BandInForce
from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.values.core.lifetime import Lifetime
from tenantcache.values.core.stored import Stored
from tenantcache.values.sharing import MAX_REMEMBERED, MAX_WAITING, WRITTEN_AT_ONCE, ValueSharing
from tenantcache.values.valuestore import CopyToWrite


class FakeCopies:
    """`ValueCopies` that notes what is written."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.batches: list[int] = []
        self.fails = False

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [None for _ in keys]

    async def put_many(self, copies: Sequence[CopyToWrite]) -> None:
        self.batches.append(len(copies))
        await asyncio.sleep(0)
        if self.fails:
            raise StoreError("Redis did not answer in time")
        self.written += [copy.key for copy in copies]


class Process:
    def __init__(self, *, is_billed: bool = True, band: Band = Band.NORMAL, max_value_bytes: int = 1_000) -> None:
        self.copies, in_force = FakeCopies(), BandInForce()
        in_force.band = band
        self.sharing = ValueSharing(self.copies, in_force, is_billed=is_billed, max_value_bytes=max_value_bytes)

    async def load(self, key: str, at: float, life: float = 60.0, value: bytes = b"1") -> int | None:
        size = self.sharing.write_soon(key, Stored("e", LogMark(1, 1), at, Lifetime(life), (), value))
        while self.sharing.is_writing:
            await asyncio.sleep(0)
        return size


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process()
    yield process
    await process.sharing.close()


async def test_the_second_load_is_written_and_all_that_follow(process: Process) -> None:
    for number in range(10):
        await process.load("a", number * 50.0)
        assert len(process.copies.written) == number


@pytest.mark.parametrize(("later", "written"), [(1.0, 1), (60.0, 1), (119.9, 1), (120.0, 0), (3600.0, 0)])
async def test_the_second_load_counts_within_two_lives(process: Process, later: float, written: int) -> None:
    await process.load("a", 1_000.0)
    await process.load("a", 1_000.0 + later)
    assert len(process.copies.written) == written


async def test_what_is_loaded_once_an_hour_is_never_written(process: Process) -> None:
    for hour in range(24):
        await process.load("a", hour * 3_600.0, life=300.0)
    assert process.copies.written == []


async def test_each_key_of_a_batch_counts_by_itself(process: Process) -> None:
    for start, written in ((0, 0), (5, 5), (0, 15)):
        for number in range(start, start + 10):
            await process.load(f"k{number}", 0.0)
        assert len(process.copies.written) == written


async def test_each_process_counts_by_itself() -> None:
    one, two = Process(), Process()
    for process in (one, two, two):
        await process.load("a", 0.0)
    assert (one.copies.written, two.copies.written) == ([], ["a"])


async def test_what_is_remembered_is_bounded_and_the_newest_stay(process: Process) -> None:
    most = MAX_REMEMBERED
    for number in range(3 * most):
        await process.load(f"k{number}", 0.0)
        if number % 1_000 == 0:
            assert len(process.sharing._loaded) + len(process.sharing._loaded_before) <= most
    for number in (3 * most - 1, 3 * most - most // 2 + 1, 0):
        await process.load(f"k{number}", 0.0)
    assert process.copies.written == [f"k{3 * most - 1}", f"k{3 * most - most // 2 + 1}"]


@pytest.mark.parametrize("band", [Band.NORMAL, Band.THRIFT])
async def test_thrift_spares_as_billing_does(band: Band) -> None:
    process = Process(is_billed=False, band=band)
    await process.load("a", 0.0)
    assert len(process.copies.written) == (1 if band is Band.NORMAL else 0)


@pytest.mark.parametrize(("life", "written"), [(5.0, 0), (9.9, 0), (10.0, 1)])
async def test_short_ones_are_not_for_redis(life: float, written: int) -> None:
    process = Process(is_billed=False)
    await process.load("a", 0.0, life=life)
    assert len(process.copies.written) == written


async def test_the_size_of_what_is_too_large_is_told() -> None:
    process = Process(is_billed=False)
    assert await process.load("a", 0.0, value=b"1" * 1_000) == 1_098
    assert await process.load("b", 0.0) is None
    assert process.copies.written == ["b"]


def give(process: Process, count: int, size: int = 1) -> None:
    for number in range(count):
        process.sharing.write_soon(f"k{number}", Stored("e", LogMark(1, 1), 0.0, Lifetime(60.0), (), b"1" * size))


async def written(process: Process) -> None:
    while process.sharing.is_writing:
        await asyncio.sleep(0)


async def test_many_are_written_one_batch_after_another() -> None:
    process = Process(is_billed=False)
    give(process, 2 * WRITTEN_AT_ONCE + 1)
    await asyncio.sleep(0)
    assert process.copies.batches == [WRITTEN_AT_ONCE], "the next one waits for the end of this one"
    await written(process)
    assert process.copies.batches == [WRITTEN_AT_ONCE, WRITTEN_AT_ONCE, 1]
    assert process.copies.written == [f"k{number}" for number in range(2 * WRITTEN_AT_ONCE + 1)]


async def test_large_ones_are_written_fewer_at_a_time_and_what_waits_is_bounded() -> None:
    process = Process(is_billed=False, max_value_bytes=300_000)
    give(process, 100, size=250_000)  # 25 MB of them, and 16 may wait
    await written(process)
    assert set(process.copies.batches) == {2, 1}
    assert len(process.copies.written) == 63
    give(process, MAX_WAITING + 1)
    await written(process)
    assert len(process.copies.written) == 63 + MAX_WAITING


async def test_a_batch_that_fails_stops_nothing() -> None:
    process = Process(is_billed=False)
    process.copies.fails = True
    give(process, WRITTEN_AT_ONCE + 1)
    await written(process)
    assert process.copies.batches == [WRITTEN_AT_ONCE, 1]
    process.copies.fails = False
    await process.load("a", 0.0)
    assert process.copies.written == ["a"]
