"""What is open beside an engine while its metrics are exported, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import math
from pathlib import Path

import pytest

from tenantcache import TenantCache
from tenantcache.observability.looplag import BOUNDS, INTERVAL, LoopLag
from tenantcache.observability.prometheus import Collector, MetricsApp
from tests.asgi import get
from tests.fakes import FakeClock, FakeDatabase, make_cache, until
from tests.observability.samples import values

# The event loop.


def test_ticks_count_by_how_late_they_are() -> None:
    lag = LoopLag()
    for seconds in (0.0, 0.004, 0.005, 0.03, 0.2, 7.0):
        lag.note(seconds)
    rows = lag.rows()
    assert rows["0.005"] == 3
    assert rows["0.025"] == 3
    assert rows["0.05"] == 4
    assert rows["5.0"] == 5
    assert rows["+Inf"] == 6
    assert math.isclose(rows["sum"], 7.239)
    assert len(rows) == len(BOUNDS) + 2


async def test_a_loop_that_is_blocked_is_late() -> None:
    lag, loop = LoopLag(), asyncio.get_running_loop()
    ticks: list[float] = []
    now = 0.0

    def clock() -> float:
        return now

    lag = LoopLag(clock)
    lag.open(loop)
    now = INTERVAL + 0.3
    lag._tick(loop)
    ticks.append(lag.rows()["sum"])
    now += INTERVAL
    lag._tick(loop)
    lag.close()
    assert math.isclose(ticks[0], 0.3)
    assert lag.rows()["+Inf"] == 2
    assert math.isclose(lag.rows()["sum"], 0.3), "the second tick was in time"


# The engine's life.


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def scrape(app: MetricsApp) -> dict[str, float]:
    return values((await get(app)).body)


async def test_it_begins_with_an_engine_that_is_open_already(clock: FakeClock) -> None:
    async with make_cache(FakeDatabase(clock), clock) as cache:
        app = MetricsApp(cache)
        [watch] = cache.companions
        assert watch._lag._timer is not None  # type: ignore[attr-defined]
        assert (await scrape(app))["tenantcache_state{state=ready}"] == 1
    assert watch._lag._timer is None  # type: ignore[attr-defined]


async def test_an_engine_that_is_not_open_can_be_scraped(clock: FakeClock) -> None:
    found = await scrape(MetricsApp(make_cache(FakeDatabase(clock), clock)))
    assert found["tenantcache_state{state=closed}"] == 1
    assert found["tenantcache_memory_valid"] == 0


async def test_a_registry_is_scraped_from_another_thread(clock: FakeClock) -> None:
    """As `prometheus_client.start_http_server` does."""
    async with make_cache(FakeDatabase(clock), clock) as cache:
        collector = Collector(cache)
        families = await asyncio.to_thread(lambda: list(collector.collect()))
    assert [family.samples[0].value for family in families if family.name == "tenantcache_workers"] == [1]


async def test_without_a_place_to_write_scrapes_go_on(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = make_cache(FakeDatabase(clock), clock, metrics_dir=tmp_path / "file")
    app = MetricsApp(cache)
    with caplog.at_level(logging.INFO):
        async with cache:
            for _ in range(3):
                found = await scrape(app)
    assert found["tenantcache_workers"] == 1
    assert found["tenantcache_snapshot_failures_total"] >= 2
    levels = [record.levelname for record in caplog.records if "not shared" in record.message]
    assert levels == ["ERROR"], "once for all of them"


async def test_an_engine_writes_what_it_has_counted_when_it_opens_and_closes(clock: FakeClock, tmp_path: Path) -> None:
    first, second = (make_cache(FakeDatabase(clock), clock, metrics_dir=tmp_path) for _ in range(2))
    app = MetricsApp(first)
    Collector(second)  # no scrape ever meets it
    async with first:
        async with second:
            await until(lambda: len(list(tmp_path.glob("*.json"))) == 2)
            second.refusals.note("unknown")
            assert (await scrape(app))["tenantcache_workers"] == 2
        found = await scrape(app)
    assert found["tenantcache_refusals_total{reason=unknown}"] == 1


async def test_another_database_is_another_deployment(clock: FakeClock, tmp_path: Path) -> None:
    ours: TenantCache = make_cache(FakeDatabase(clock), clock, metrics_dir=tmp_path)
    theirs = make_cache(FakeDatabase(clock), clock, metrics_dir=tmp_path, key_prefix="theirs")
    renewed = make_cache(
        FakeDatabase(clock), clock, metrics_dir=tmp_path, database_url="postgresql://nobody:new@127.0.0.1:1/none"
    )
    apps = [MetricsApp(cache) for cache in (ours, theirs, renewed)]
    for app in apps:
        await scrape(app)
    workers = [(await scrape(app))["tenantcache_workers"] for app in apps]
    assert workers == [2, 1, 2], "a new password makes no other deployment"
