"""One scrape of two real workers on one port: it does not matter which of them answers, or which was killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.end_to_end.workers import Connection, Fleet
from tests.observability.samples import values

pytestmark = pytest.mark.usefixtures("patience")


AGE = "tenantcache_log_age_seconds{worker="


async def scrape(connection: Connection) -> Mapping[str, float]:
    status, _, body = await connection.ask("localhost", "/health/metrics/")
    assert status == 200
    return values(body)


def workers(found: Mapping[str, float]) -> set[int]:
    return {int(name[len(AGE) : -1]) for name in found if name.startswith(AGE)}


async def refuse(connection: Connection, requests: int) -> None:
    for _ in range(requests):
        assert (await connection.get("none.example.com")).status == 404


async def test_one_scrape_tells_of_all_workers(database_url: str, redis_url: str, tmp_path: Path) -> None:
    directory, refused = tmp_path / "run" / "metrics", "tenantcache_refusals_total{reason=unknown}"
    settings = {"database_url": database_url, "redis_url": redis_url, "metrics_dir": str(directory)}
    async with Fleet(ports=1, **settings) as fleet:
        first, second = fleet.connections
        await refuse(first, 30)
        await refuse(second, 20)
        assert (await scrape(first))[refused] >= 30, "the other one writes every few seconds"
        found = await scrape(second)
        assert found[refused] == 50
        assert (await scrape(first))[refused] == 50
        assert workers(found) == {first.worker, second.worker}
        assert found["tenantcache_workers"] == 2
        assert found["tenantcache_fleet_processes"] == 2, "the fleet's size is not added up"

        await refuse(first, 5)
        assert (await scrape(first))[refused] == 55
        fleet.replace(first)
        assert (await scrape(second))[refused] == 55, "what a scrape has told does not fall"
        connections = await fleet.connect()
        assert first.worker not in {connection.worker for connection in connections}
        for connection in connections:
            await scrape(connection)  # before it answers, a worker writes its own; a new one may not have before
        for connection in connections:
            found = await scrape(connection)
            assert found[refused] == 55
            assert workers(found) == {each.worker for each in connections}, "gauges are those of workers that run"
