"""`/livez`, `/readyz`, and the state that they tell: no I/O, and no word to those who may not see it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from starlette.testclient import TestClient

from tenantcache import TenantCache, stats
from tenantcache.web.health import HealthApp, MaySee
from tests.fakes import FakeClock, FakeDatabase, make_cache, row, until

STATES = (Path(__file__).parents[1] / "docs" / "states.md").read_text(encoding="utf-8")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(clock, row("acme"))


@pytest.fixture
def cache(database: FakeDatabase, clock: FakeClock) -> TenantCache:
    return make_cache(database, clock, stale_if_error=60.0)


def ask(app: HealthApp, path: str = "/readyz", method: str = "GET") -> tuple[int, str]:
    answer = TestClient(app).request(method, path)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.text


async def test_an_engine_that_is_not_open_is_alive_and_not_ready(cache: TenantCache) -> None:
    assert ask(HealthApp(cache)) == (503, "not ready\n")
    assert ask(HealthApp(cache), "/livez") == (200, "alive\n")
    assert cache.state == cache.stats()["state"] == "closed"


async def test_it_is_ready_when_memory_is_filled_and_valid(cache: TenantCache) -> None:
    async with cache:
        await until(lambda: cache.state == "ready")
        assert ask(HealthApp(cache)) == (200, "ready\n")
        assert ask(HealthApp(cache), method="HEAD") == (200, "")
    assert cache.state == "closed"


@pytest.mark.parametrize(
    ("lost_for", "state", "ready", "serves_stale"),
    [(2.9, "ready", 200, 200), (3.1, "stale", 503, 200), (62.9, "stale", 503, 200), (63.1, "lost", 503, 503)],
)
async def test_a_process_that_has_lost_the_log_is_not_ready(
    cache: TenantCache,
    database: FakeDatabase,
    clock: FakeClock,
    lost_for: float,
    state: str,
    ready: int,
    serves_stale: int,
) -> None:
    async with cache:
        await until(lambda: cache.state == "ready")
        database.failing = True
        clock.advance(lost_for)
        assert cache.state == state
        assert ask(HealthApp(cache))[0] == ready
        assert ask(HealthApp(cache, serve_stale=True))[0] == serves_stale
        database.failing = False


async def test_neither_route_asks_a_store(cache: TenantCache, database: FakeDatabase) -> None:
    async with cache:
        await until(lambda: cache.state == "ready")
        database.calls.clear()
        reads = len(database.reads)
        ask(HealthApp(cache))
        ask(HealthApp(cache), "/livez")
        assert (database.calls, len(database.reads)) == ([], reads)


async def coroutine_says(_request: Any) -> bool:
    return True


def fails(_request: Any) -> bool:
    raise RuntimeError("no session")


@pytest.mark.parametrize(
    ("may_see", "sees"),
    [
        (None, False),
        (lambda request: False, False),
        (lambda request: "yes", False),
        (fails, False),
        (lambda request: request.headers.get("x-key") == "k", True),
        (coroutine_says, True),
    ],
)
async def test_details_are_for_those_who_may_see_them(cache: TenantCache, may_see: MaySee | None, sees: bool) -> None:
    async with cache:
        await until(lambda: cache.state == "ready")
        answer = TestClient(HealthApp(cache, may_see=may_see)).get("/readyz", headers={"x-key": "k"})
        assert answer.status_code == 200
        if not sees:
            assert answer.text == "ready\n"
            return
        shown = answer.json()
        assert (shown["ready"], shown["state"], shown["meaning"]) == (
            True,
            "ready",
            "changes are followed, and memory is valid",
        )
        assert shown["freshness"]["following"] is True


async def test_it_can_be_mounted(cache: TenantCache) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/health", HealthApp(cache))])
    assert TestClient(app).get("/health/livez").status_code == 200
    assert TestClient(app).get("/health/readyz").status_code == 503


KINDS = {
    "`state`": stats.HealthState,
    "`lookups.warm_up`": stats.WarmUpState,
    "`redis.breaker`": get_type_hints(stats.LinkStats)["breaker"],
    "`limits.counters.redis`": stats.RedisState,
    "`limits.counters.postgres`": get_type_hints(stats.CounterStats)["postgres"],
    "`redis.band`": stats.BandName,
}


@pytest.mark.parametrize("key", KINDS)
def test_the_page_of_states_lists_each_of_them(key: str) -> None:
    [section] = re.findall(rf"^## {key}.*?\n(.*?)(?=^## |\Z)", STATES, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(get_args(KINDS[key]))
