"""Values in the pytest plugin: in memory, by the fake clock, and off, in requests and outside of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tenantcache import NotOpenError, Settings, TenantCache, TenantMiddleware
from tenantcache.testing import FakeClock, MemoryCache, TenantTable, standing_in

engine = TenantCache(Settings({}, database_url="postgresql://localhost/none"))
"""The application's own, which no test opens."""

app = FastAPI()
app.add_middleware(TenantMiddleware, cache=engine)
calls: list[str] = []


async def load() -> int:
    calls.append("load")
    return len(calls)


async def load_many(keys: Sequence[str]) -> Mapping[str, int]:
    calls.extend(keys)
    return {key: len(calls) for key in keys}


@engine.values.cached("number:{name}", ttl=1800)
async def number(name: str) -> int:
    calls.append(name)
    return len(calls)


async def one() -> object:
    return await engine.values.get_or_load("number", load, ttl=1800)


async def many() -> object:
    return sum((await engine.values.get_many(["a"], load_many, ttl=1800)).values())


async def decorated() -> object:
    return await number("x")


async def shared() -> object:
    return await engine.values.shared.get_or_load("number", load, ttl=1800)


WAYS = {"one": one, "many": many, "decorated": decorated, "shared": shared}


@app.get("/{way}")
async def ask(way: str) -> object:
    return await WAYS[way]()


@pytest.fixture(autouse=True)
def no_calls() -> Iterator[None]:
    calls.clear()
    yield
    assert not engine.is_open


AsTenant = Callable[..., Any]
Get = Callable[[], object]


@pytest.fixture(params=["requests", "one loop", "a worker"])
def get(request: pytest.FixtureRequest, as_tenant: AsTenant, tenant_cache: MemoryCache, way: str) -> Iterator[Get]:
    """Asks for a value: in requests with a loop for each, in those of an application that runs, or in tasks."""
    client = TestClient(app)
    with as_tenant("acme", client):
        if request.param == "one loop":
            with client:
                yield lambda: client.get(f"/{way}").json()
        elif request.param == "requests":
            yield lambda: client.get(f"/{way}").json()
        else:

            async def task() -> object:
                async with tenant_cache:
                    return await WAYS[way]()

            yield lambda: asyncio.run(task())


@pytest.mark.parametrize("way", WAYS)
def test_the_fake_clock_moves_them_and_off_keeps_nothing(
    get: Get, tenant_cache: MemoryCache, tenant_clock: FakeClock
) -> None:
    assert [get(), get()] == [1, 1]
    tenant_clock.advance(1799.9)
    assert [get(), get()] == [1, 1]
    tenant_clock.advance(0.1)
    assert [get(), get()] == [2, 2]
    with tenant_cache.values.off():
        assert [get(), get()] == [3, 4]
        with tenant_cache.values.off():
            assert get() == 5
        assert get() == 6
    assert [get(), get()] == [7, 7]
    tenant_cache.values.off()
    assert [get(), get()] == [8, 9]


@pytest.mark.parametrize("way", ["one"])
def test_a_change_while_the_engine_is_closed_counts(get: Get, tenant_cache: MemoryCache) -> None:
    async def invalidate() -> None:
        async with tenant_cache:
            await engine.values.invalidate("number", tenant="acme")

    assert [get(), get()] == [1, 1]
    if tenant_cache.is_open:  # in the loop of a client that goes on
        return
    asyncio.run(invalidate())
    assert [get(), get()] == [2, 2]


async def test_what_is_set_expired_or_restored(tenant_cache: MemoryCache) -> None:
    async with tenant_cache as cache:
        values = cache.values
        await values.set("a", 7, tenant="acme", ttl=60)
        assert await values.get_or_load("a", load, tenant="acme", ttl=60) == 7
        assert await values.shared.get_or_load("b", load, ttl=60, tags=["t"]) is not None
        before = len(calls)
        await values.shared.invalidate(tag="t")
        await values.shared.get_or_load("b", load, ttl=60, tags=["t"])
        assert len(calls) == before + 1
        cache.database.epoch = "restored"
        await cache.sync()
        await values.shared.get_or_load("b", load, ttl=60, tags=["t"])
        assert len(calls) == before + 2


async def test_members_and_what_is_written_later(tenant_cache: MemoryCache) -> None:
    written: list[object] = []

    async def write(batch: Any) -> None:
        written.append(dict(batch))

    async def load_members() -> list[str]:
        return ["ann"]

    async with tenant_cache:
        assert await engine.values.contains("admins", "ann", load_members, tenant="acme", ttl=60)
        await engine.values.add("admins", "bob", tenant="acme")
        await engine.values.write_later("seen", 5, write, tenant="acme")
        assert await engine.values.get_or_load("seen", load, tenant="acme", ttl=60) == 5
        await engine.values.flush_writes()
    assert written == [{"seen": 5}]


async def test_callers_at_once_share_a_load_though_values_are_off(tenant_cache: MemoryCache) -> None:
    async with tenant_cache as cache:
        with cache.values.off():
            gets = (cache.values.get_or_load("a", load, tenant="acme", ttl=60) for _ in range(10))
            assert await asyncio.gather(*gets) == [1] * 10
            assert len(cache.values.parts.memory) == 0


def test_without_the_fixtures_an_engine_that_is_not_open_says_so() -> None:
    with pytest.raises(NotOpenError):
        asyncio.run(engine.values.shared.get_or_load("a", load, ttl=60))
    with standing_in(MemoryCache()), pytest.raises(NotOpenError):
        asyncio.run(engine.values.shared.get_or_load("a", load, ttl=60))


async def test_an_engine_that_is_open_has_its_own_values(tenant_cache: MemoryCache) -> None:
    other = MemoryCache()
    TenantTable(other).add("acme")
    async with tenant_cache, other:
        await other.values.get_or_load("a", load, tenant="acme", ttl=60)
        assert tenant_cache.values.explain("a", tenant="acme").state == "absent"
        assert engine.values.explain("a", tenant="acme").state == "absent"
        assert other.values.explain("a", tenant="acme").state == "fresh"
        assert engine.values.stats() == tenant_cache.values.stats()
