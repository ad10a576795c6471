"""Typed values on real servers: two releases side by side, what Redis holds, and an application that uses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache, TenantMiddleware
from tenantcache.fastapi import CurrentTenant
from tests.fakes import until

pytestmark = pytest.mark.usefixtures("patience")


class Profile(BaseModel):
    name: str


class LaterProfile(BaseModel):
    name: str
    plan: str = "free"


@dataclasses.dataclass
class Data:
    name: str


@dataclasses.dataclass
class LaterData:
    name: str
    plan: str = "free"


LaterProfile.__name__ = "Profile"
LaterData.__name__ = LaterData.__qualname__ = "Data"


def make(database_url: str, redis_url: str, **settings: Any) -> TenantCache:
    """The log vouches for memory, and so for copies in Redis, for longer than a busy machine stands still."""
    terms: dict[str, Any] = {"redis_pricing": "flat", "warm_up": False, "usage_interval": 0, "max_staleness": 60}
    terms |= settings
    return TenantCache(Settings(database_url=database_url, redis_url=redis_url, **terms))


async def written(cache: TenantCache) -> None:
    await until(lambda: not cache.values.parts.sharing.is_writing)


async def get(cache: TenantCache, form: Any, value: object) -> object:
    async def load() -> Any:
        return value

    found: object = await cache.values.get_or_load("profile:7", load, tenant="acme", kind="profile", type=form)
    await written(cache)
    return found


@pytest.mark.parametrize("values_format", ["json", "msgpack"])
@pytest.mark.parametrize(("form", "later"), [(Profile, LaterProfile), (Data, LaterData)])
async def test_two_releases_do_not_read_each_other(
    database_url: str, redis_url: str, form: Any, later: Any, values_format: str
) -> None:
    async with (
        make(database_url, redis_url, values_format=values_format) as old,
        make(database_url, redis_url, values_format=values_format) as new,
        make(database_url, redis_url, values_format=values_format) as third,
    ):
        assert await get(old, form, form(name="old")) == form(name="old")
        assert await get(new, later, later(name="new", plan="pro")) == later(name="new", plan="pro")
        await third.sync()  # else it may not know an entry that a copy names
        assert await get(third, form, form(name="not asked")) == form(name="old")
        assert await get(third, later, later(name="not asked")) == later(name="new", plan="pro")
        assert (new.values.stats()["redis_hits"], third.values.stats()["redis_hits"]) == (0, 2)


async def test_what_cannot_be_decoded_is_a_miss_and_counted(database_url: str, redis_url: str) -> None:
    async with make(database_url, redis_url) as one, Redis.from_url(redis_url) as redis:
        await get(one, Profile, Profile(name="a"))
        [key] = [key async for key in redis.scan_iter("tenantcache:value:*")]
        stored: Any = await redis.get(key)
        assert stored.endswith(b',"value":{"name":"a"}}')
        await redis.set(key, stored.replace(b'{"name":"a"}', b'{"name":5}'))
        async with make(database_url, redis_url) as two:
            assert await get(two, Profile, Profile(name="b")) == Profile(name="b")
            assert (two.values.stats()["undecodable"], two.values.stats()["redis_hits"]) == (1, 0)


async def test_the_times_of_copies_are_those_of_the_kind_and_spread(database_url: str, redis_url: str) -> None:
    async def load(keys: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(keys, 1)

    kinds = {"profile": 1000, "report": {"fresh": 600, "stale": 3400}}
    async with make(database_url, redis_url, values_kinds=kinds) as cache, Redis.from_url(redis_url) as redis:
        for kind, whole in (("static", 3600), ("profile", 1000), ("session", 300), ("report", 4000)):
            keys = [f"{kind}:{number}" for number in range(20)]
            await cache.values.get_many(keys, load, tenant="acme", kind=kind)
            await written(cache)
            found = [await redis.ttl(f"tenantcache:value:acme:{key}") for key in keys]
            assert 0.9 * whole - 10 <= min(found) < max(found) <= whole


async def test_an_application_keeps_what_its_functions_return(database_url: str, redis_url: str) -> None:
    cache, calls = make(database_url, redis_url, base_domains=["example.com"]), []

    @cache.values.cached("profile:{user_id}", kind="profile", tags=["user:{user_id}"])
    async def profile(user_id: str) -> Profile | None:
        calls.append(user_id)
        return Profile(name=f"{user_id} {len(calls)}") if user_id != "0" else None

    app = FastAPI()
    app.add_middleware(TenantMiddleware, cache=cache)

    @app.get("/{user_id}")
    async def show(tenant: CurrentTenant, user_id: str) -> Profile | None:
        return await profile(user_id)

    @app.post("/{user_id}")
    async def change(tenant: CurrentTenant, user_id: str) -> None:
        await profile.invalidate(user_id)

    async with cache:
        for name in ("acme", "globex"):
            await cache.tenants.create(name, subdomain=name)
        clients = [
            AsyncClient(transport=ASGITransport(app), base_url=f"http://{name}.example.com")
            for name in ("acme", "globex")
        ]
        answers = [(await client.get(path)).json() for path in ("/7", "/7", "/0") for client in clients]
        assert answers == [{"name": "7 1"}, {"name": "7 2"}, {"name": "7 1"}, {"name": "7 2"}, None, None]
        assert (await clients[0].post("/7")).status_code == 200
        assert [(await client.get("/7")).json()["name"] for client in clients] == ["7 5", "7 2"]
        for client in clients:
            await client.aclose()
