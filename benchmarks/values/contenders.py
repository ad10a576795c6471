"""The ways to cache a value that are compared, each as its own documents show it. All read through to one loader.

dogpile.cache is not asynchronous: it is called as its documents say, in the thread of the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from cachetools import TTLCache
from redis.asyncio import Redis

from benchmarks.bench.stores import Env
from tenantcache import Settings, TenantCache

TTL: Final = 3600
ENTRIES: Final = 10_000
"""That a process may hold, in those that hold any."""

TENANT: Final = "t0"

CONNECTIONS: Final = 2_000
"""At most, to Redis: with the default of redis-py, a thousand callers at once get an error."""


class Load(Protocol):
    """What is cached, from where it takes its time."""

    async def __call__(self, key: str) -> dict[str, Any]: ...

    def blocking(self, key: str) -> dict[str, Any]:
        """For what is not asynchronous."""
        ...


@dataclass(frozen=True)
class Cached:
    """One process' view. `get` reads through to the loader; `invalidate` is called after a change is committed."""

    get: Callable[[str], Awaitable[Any]]
    invalidate: Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Contender:
    """`open` gives what one process has; `tells` is how others hear of an invalidation."""

    name: str
    open: Callable[[Env, Load], AbstractAsyncContextManager[Cached]]
    holds: str
    tells: str


@dataclass(frozen=True)
class Row:
    """What the source has, as a type that cannot change."""

    key: str
    version: int
    color: str
    seats: int
    plan: str
    active: bool


@asynccontextmanager
async def open_ours(env: Env, load: Load, *, type: type[Any] | None = None, **settings: Any) -> AsyncIterator[Cached]:
    async with engine_of(env, **settings) as cache:
        values = cache.values

        async def get(key: str) -> Any:
            async def loader() -> Any:
                found = await load(key)
                return found if type is None else type(**found)

            return await values.get_or_load(key, loader, tenant=TENANT, ttl=TTL, type=type)

        async def invalidate(key: str) -> None:
            await values.invalidate(key, tenant=TENANT)

        yield Cached(get, invalidate)


@asynccontextmanager
async def open_ours_decorated(env: Env, load: Load) -> AsyncIterator[Cached]:
    async with engine_of(env) as cache:

        @cache.values.cached("{key}", ttl=TTL)
        async def get(key: str, tenant: str = TENANT) -> dict[str, Any]:
            return await load(key)

        yield Cached(get, get.invalidate)


@asynccontextmanager
async def engine_of(env: Env, **settings: Any) -> AsyncIterator[TenantCache]:
    cache = TenantCache(
        Settings(
            database_url=env.database_url,
            redis_url=env.redis_url,
            key_prefix=env.prefix,
            warm_up=False,
            host_index_max_hosts=0,
            values_max_entries=ENTRIES,
            **settings,
        )
    )
    async with cache:
        while cache.state != "ready":
            await asyncio.sleep(0.01)
        yield cache


@asynccontextmanager
async def open_ours_flat(env: Env, load: Load) -> AsyncIterator[Cached]:
    """A Redis that is not billed by command: each first load is written."""
    async with open_ours(env, load, redis_pricing="flat") as cached:
        yield cached


@asynccontextmanager
async def open_ours_frozen(env: Env, load: Load) -> AsyncIterator[Cached]:
    """All callers are given the same object, since it cannot change."""
    async with open_ours(env, load, type=Row) as cached:
        yield cached


@asynccontextmanager
async def open_guide(env: Env, load: Load) -> AsyncIterator[Cached]:
    redis = Redis.from_url(env.redis_url, max_connections=CONNECTIONS)

    async def get(key: str) -> Any:
        if (found := await redis.get(f"{env.prefix}:{key}")) is not None:
            return json.loads(found)
        value = await load(key)
        await redis.setex(f"{env.prefix}:{key}", TTL, json.dumps(value))
        return value

    async def invalidate(key: str) -> None:
        await redis.delete(f"{env.prefix}:{key}")

    yield Cached(get, invalidate)
    await redis.aclose()


@asynccontextmanager
async def open_cashews(env: Env, load: Load, **options: Any) -> AsyncIterator[Cached]:
    from cashews import Cache

    cache = Cache()
    cache.setup(env.redis_url, max_connections=CONNECTIONS, **options)
    await cache.init()

    @cache(ttl=TTL, key=f"{env.prefix}:{{key}}")
    async def get(key: str) -> Any:
        return await load(key)

    async def invalidate(key: str) -> None:
        await cache.delete(f"{env.prefix}:{key}")

    yield Cached(get, invalidate)
    await cache.close()


@asynccontextmanager
async def open_cashews_client_side(env: Env, load: Load) -> AsyncIterator[Cached]:
    """With redis-py's default of RESP3, no invalidation reaches it."""
    async with open_cashews(env, load, client_side=True, protocol=2) as cached:
        yield cached


@asynccontextmanager
async def open_aiocache(env: Env, load: Load) -> AsyncIterator[Cached]:
    from aiocache import RedisCache, cached
    from aiocache.serializers import JsonSerializer

    where = urlsplit(env.redis_url)
    arguments = {"endpoint": where.hostname, "port": where.port, "namespace": env.prefix, "pool_max_size": CONNECTIONS}
    cache = RedisCache(serializer=JsonSerializer(), **arguments)

    @cached(
        ttl=TTL,
        cache=RedisCache,
        serializer=JsonSerializer(),
        key_builder=lambda _function, key: key,
        **arguments,
    )
    async def get(key: str) -> Any:
        return await load(key)

    async def invalidate(key: str) -> None:
        await cache.delete(key)

    yield Cached(get, invalidate)
    await cache.close()
    await get.cache.close()


@asynccontextmanager
async def open_dogpile(env: Env, load: Load) -> AsyncIterator[Cached]:
    from dogpile.cache import make_region

    region = make_region().configure(
        "dogpile.cache.redis", arguments={"url": env.redis_url, "redis_expiration_time": TTL}
    )

    async def get(key: str) -> Any:
        return region.get_or_create(f"{env.prefix}:{key}", lambda: load.blocking(key))

    async def invalidate(key: str) -> None:
        region.delete(f"{env.prefix}:{key}")

    yield Cached(get, invalidate)


@asynccontextmanager
async def open_fastapi_redis_sdk(env: Env, load: Load) -> AsyncIterator[Cached]:
    from redis_fastapi.cache_backend import CacheBackend

    redis = Redis.from_url(env.redis_url, max_connections=CONNECTIONS)
    backend = CacheBackend(redis, eviction_group=env.prefix)

    async def get(key: str) -> Any:
        if (found := await backend.get(key)) is not None:
            return found
        value = await load(key)
        await backend.set(key, value, ttl=TTL)
        return value

    async def invalidate(key: str) -> None:
        await backend.delete(key)

    yield Cached(get, invalidate)
    await redis.aclose()


@asynccontextmanager
async def open_cachetools(_env: Env, load: Load) -> AsyncIterator[Cached]:
    """The floor: a dict with a TTL in this process. Others are not told of anything."""
    held: TTLCache[str, Any] = TTLCache(ENTRIES, TTL)

    async def get(key: str) -> Any:
        if (found := held.get(key)) is None:
            found = held[key] = await load(key)
        return found

    async def invalidate(key: str) -> None:
        held.pop(key, None)

    yield Cached(get, invalidate)


OURS, FLOOR = "tenantcache", "cachetools alone"

CONTENDERS = (
    Contender(FLOOR, open_cachetools, "in the process", "nothing"),
    Contender(OURS, open_ours, "in the process, then Redis", "the log in Postgres"),
    Contender("tenantcache, a function", open_ours_decorated, "in the process, then Redis", "the log in Postgres"),
    Contender("tenantcache, a frozen type", open_ours_frozen, "in the process, then Redis", "the log in Postgres"),
    Contender("tenantcache, Redis not billed", open_ours_flat, "in the process, then Redis", "the log in Postgres"),
    Contender("the guide's pattern", open_guide, "in Redis", "Redis"),
    Contender("cashews", open_cashews, "in Redis", "Redis"),
    Contender("cashews, client side", open_cashews_client_side, "in the process, then Redis", "Redis (tracking)"),
    Contender("aiocache", open_aiocache, "in Redis", "Redis"),
    Contender("dogpile.cache", open_dogpile, "in Redis", "Redis"),
    Contender("fastapi-redis-sdk", open_fastapi_redis_sdk, "in Redis", "Redis"),
)
