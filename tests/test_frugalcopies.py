"""Copies as far as the band allows them, and how long they live."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tenantcache.budget.core.bands import Band, BandInForce
from tenantcache.lookup.core.copies import thrifty_life
from tenantcache.lookup.frugalcopies import MAX_ASKED, FrugalCopies


class Copies:
    """`CopyStore` that remembers what it was asked."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        self.asked.append(f"get {' '.join(aliases)}")
        return [self.values.get(alias) for alias in aliases]

    async def put(self, alias: str, value: bytes) -> None:
        self.asked.append(f"put {alias}")
        self.values[alias] = value

    async def drop(self, aliases: Sequence[str]) -> None:
        self.asked.append(f"drop {' '.join(aliases)}")


async def live(band: Band) -> list[str]:
    """What is asked of Redis for two misses of two hosts each, and an invalidation."""
    store, in_force = Copies(), BandInForce()
    copies = FrugalCopies(store, in_force)
    in_force.band = band
    for _ in range(2):
        assert len(await copies.get_many(["a", "b"])) == 2
        await copies.put("a", b"1")
    await copies.drop(["a"])
    return store.asked


@pytest.mark.parametrize(
    ("band", "asked"),
    [
        (Band.NORMAL, ["get a b", "put a", "get a b", "put a", "drop a"]),
        (Band.THRIFT, ["get a b", "get a b", "put a", "drop a"]),
        (Band.NO_COPIES, []),
        (Band.NO_REDIS, []),
    ],
)
async def test_what_is_sent_in_each_band(band: Band, asked: list[str]) -> None:
    assert await live(band) == asked


async def test_what_is_remembered_is_bounded() -> None:
    store, in_force = Copies(), BandInForce()
    copies = FrugalCopies(store, in_force)
    in_force.band = Band.THRIFT
    for number in range(MAX_ASKED + 1):
        await copies.put(str(number), b"")
    await copies.put(str(MAX_ASKED), b"")
    await copies.put("0", b"")  # forgotten
    assert store.asked == [f"put {MAX_ASKED}"]


@pytest.mark.parametrize(("ttl", "life"), [(3_600.0, 14_400.0), (30_000.0, 80_000.0), (100_000.0, 100_000.0)])
def test_copies_live_four_times_as_long_as_far_as_the_log_reaches(ttl: float, life: float) -> None:
    assert thrifty_life(ttl) == life
