"""Thousands of made-up hosts beside real traffic, through the middleware, on a real Postgres and a real Redis."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import Settings, TenantCache, TenantMiddleware
from tests.asgi import get
from tests.servers.billing import BilledCommands

STRANGERS = 10_000
PAST_THE_BUDGET = 6_000
TENANTS = 20
AT_ONCE = 50


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["state"]["tenant"].name.encode()})


@pytest.fixture
async def _tenants(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into tenantcache.tenants (id, name, subdomain) "
        f"select n, 'Tenant ' || n, 'tenant-' || n from generate_series(0, {TENANTS - 1}) n"
    )
    await connection.close()


@asynccontextmanager
async def warm_app(database_url: str, redis_url: str, **settings: Any) -> AsyncIterator[TenantMiddleware]:
    """The middleware with every tenant in memory and with its index loaded, if it keeps one."""
    # A process that stands still for some seconds under a flood still knows its index to be valid.
    bounds: dict[str, Any] = {"limits": "off", "usage_interval": 0, "max_staleness": 60}
    chosen = Settings(_environ={}, database_url=database_url, redis_url=redis_url, **bounds, **settings)
    async with TenantCache(chosen) as cache:
        app = TenantMiddleware(application, cache)
        async with asyncio.timeout(60):
            while chosen.host_index_max_hosts and not cache.indexer.is_ready:
                await asyncio.sleep(0.005)
            for number in range(TENANTS):
                assert (await get(app, b"tenant-%d.localhost" % number)).status == 200
            while cache.resolver.sharing.is_writing:  # the copies on their way into Redis
                await asyncio.sleep(0.005)
        yield app


async def flood(app: TenantMiddleware, strangers: int) -> Counter[int]:
    """Answers to unknown hosts, by status. A tenant asks after every tenth of them and must be served."""
    statuses: Counter[int] = Counter()

    async def some(numbers: range) -> None:
        for number in numbers:
            await asyncio.sleep(0)  # as between two requests of a server: the follower must have its turn
            base = b"localhost" if number % 2 else b"example"
            statuses[(await get(app, b"stranger-%d.%s" % (number, base))).status] += 1
            if number % 10 == 0:
                answer = await get(app, b"tenant-%d.localhost" % (number // 10 % TENANTS))
                assert answer.body == b"Tenant %d" % (number // 10 % TENANTS)

    await asyncio.gather(*(some(range(first, strangers, AT_ONCE)) for first in range(AT_ONCE)))
    return statuses


async def test_with_the_index_a_flood_of_unknown_hosts_touches_nothing(
    database_url: str, redis_url: str, billed_commands: BilledCommands, patience: None, _tenants: None
) -> None:
    async with warm_app(database_url, redis_url) as app:
        await flood(app, 10 * AT_ONCE)  # what is made once is there
        billed_commands.reset()
        before, started = app.cache.stats(), time.monotonic()
        tracemalloc.start()
        statuses = await flood(app, STRANGERS)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        after, seconds = app.cache.stats(), time.monotonic() - started
    assert statuses == {404: STRANGERS}
    assert after["lookups"]["loads"] == before["lookups"]["loads"]
    # Every 10 s the process says in one query that it is there, whatever it is asked.
    assert after["postgres"]["queries"] - before["postgres"]["queries"] <= 1 + seconds // 10
    assert billed_commands.by_command() == {}
    held = {"tenants": TENANTS, "max_tenants": before["memory"]["max_tenants"]}
    assert after["memory"] == held | {"negatives": 0, "evictions": 0, "displaced": 0}
    assert after["lookups"]["ruled_out"] - before["lookups"]["ruled_out"] == STRANGERS
    assert peak < 1_000_000, "a host that is ruled out leaves nothing behind"


async def test_without_the_index_a_flood_is_bounded_by_the_budget_of_look_ups(
    database_url: str, redis_url: str, billed_commands: BilledCommands, patience: None, _tenants: None
) -> None:
    async with warm_app(database_url, redis_url, host_index_max_hosts=0) as app:
        billed_commands.reset()
        before, started = app.cache.stats(), time.monotonic()
        statuses = await flood(app, PAST_THE_BUDGET)
        seconds = time.monotonic() - started
        after = app.cache.stats()
    looked_up = after["lookups"]["loads"] - before["lookups"]["loads"]
    assert 0 < looked_up <= 1_000 + 200 * seconds, "a burst, and then 200 a second"
    # On a machine that is slow enough, the budget lets all of them through.
    expected = Counter({404: looked_up, 503: PAST_THE_BUDGET - looked_up})
    assert statuses == expected, "past the budget, no answer says that there is none"
    assert after["postgres"]["queries"] - before["postgres"]["queries"] <= looked_up + 1 + seconds // 10
    commands = billed_commands.by_command()
    assert set(commands) <= {"get", "mget"}, "nothing is written for a host that is not there"
    assert 0 < sum(commands.values()) <= looked_up
    assert after["memory"]["tenants"] == TENANTS
    assert after["memory"]["evictions"] == 0
    assert after["memory"]["negatives"] <= 10_000
