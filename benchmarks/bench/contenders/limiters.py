"""Libraries that limit. Each gets the tenant from `LocalLookup` and limits it by minute and by day."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bench.contenders.lookups import (
    LocalLookup,
    LookupMiddleware,
    NotFoundError,
    connect,
    host_in,
    subdomain_of,
)
from benchmarks.bench.contenders.plain import bare
from benchmarks.bench.stores import Env

Admits = Callable[[str], Awaitable[bool]]


class LimitMiddleware:
    """Lookup, then the library's question for the tenant's id."""

    def __init__(self, app: ASGIApp, find: LocalLookup, admits: Admits) -> None:
        self.app = app
        self.find = find
        self.admits = admits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            tenant = await self.find(subdomain_of(host_in(scope)))
        except NotFoundError:
            await PlainTextResponse("no such tenant", 404)(scope, receive, send)
            return
        if not await self.admits(tenant["id"]):
            await PlainTextResponse("too many requests", 429)(scope, receive, send)
            return
        scope["state"]["tenant"] = tenant
        await self.app(scope, receive, send)


@asynccontextmanager
async def _opened(env: Env, name: str, make: Callable[[Redis], Admits]) -> AsyncIterator[ASGIApp]:
    async with connect(env) as (redis, postgres):
        yield LimitMiddleware(bare(), LocalLookup(redis, postgres, f"{env.prefix}-{name}"), make(redis))


@asynccontextmanager
async def open_limits(env: Env) -> AsyncIterator[ASGIApp]:
    from limits import RateLimitItemPerDay, RateLimitItemPerMinute
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    def make(_redis: Redis) -> Admits:
        options: dict[str, Any] = {"protocol": 2, "driver_info": None}
        storage = RedisStorage(f"async+{env.redis_url}", implementation="redispy", **options)
        limiter = FixedWindowRateLimiter(storage)
        minute, day = RateLimitItemPerMinute(env.per_minute), RateLimitItemPerDay(env.per_day)
        prefix = f"{env.prefix}-limits"

        async def admits(tenant_id: str) -> bool:
            return await limiter.hit(minute, prefix, tenant_id) and await limiter.hit(day, prefix, tenant_id)

        return admits

    async with _opened(env, "limits", make) as app:
        yield app


@asynccontextmanager
async def open_throttled(env: Env) -> AsyncIterator[ASGIApp]:
    from throttled.asyncio import RateLimiterType, RedisStore, Throttled, rate_limiter

    def make(_redis: Redis) -> Admits:
        store = RedisStore(server=env.redis_url)
        options: dict[str, Any] = {
            "using": RateLimiterType.FIXED_WINDOW.value,
            "store": store,
            "key_prefix": f"{env.prefix}-throttled",
        }
        minute = Throttled(quota=rate_limiter.per_min(env.per_minute), **options)
        day = Throttled(quota=rate_limiter.per_day(env.per_day), **options)

        async def admits(tenant_id: str) -> bool:
            by_minute = await minute.limit(f"{tenant_id}:minute")
            return not by_minute.limited and not (await day.limit(f"{tenant_id}:day")).limited

        return admits

    async with _opened(env, "throttled", make) as app:
        yield app


@asynccontextmanager
async def open_pyrate_limiter(env: Env) -> AsyncIterator[ASGIApp]:
    """A bucket a tenant. Its documentation advises against the sorted set (`RedisBucket`) for windows as long as a
    day; `TokenBucket` with a burst of the limit is its constant-size equal of a window."""
    from pyrate_limiter import Duration, Limiter, Rate, RedisStateStore, StateBucket, TokenBucket

    def make(redis: Redis) -> Admits:
        minute = Rate(env.per_minute, Duration.MINUTE, burst=env.per_minute)
        day = Rate(env.per_day, Duration.DAY, burst=env.per_day)
        # It refuses a list with a rate that can never be reached before another one.
        rates = [day] if env.per_day <= env.per_minute else [minute, day]
        limiters: dict[str, Limiter] = {}

        async def admits(tenant_id: str) -> bool:
            limiter = limiters.get(tenant_id)
            if limiter is None:
                store = RedisStateStore(redis, f"{env.prefix}-pyrate:{tenant_id}")
                limiter = limiters[tenant_id] = Limiter(StateBucket(rates, algorithm=TokenBucket(), store=store))
            return bool(await limiter.try_acquire_async(tenant_id, blocking=False))

        return admits

    async with _opened(env, "pyrate", make) as app:
        yield app


@asynccontextmanager
async def open_throttlekit(env: Env) -> AsyncIterator[ASGIApp]:
    from throttlekit import AsyncRedisBackend, FixedWindow
    from throttlekit.redis_backend_async import AsyncRedisClientLike

    def make(redis: Redis) -> Admits:
        client = cast(AsyncRedisClientLike, redis)  # it wants coroutines, but redis-py promises awaitables
        minute = AsyncRedisBackend(client, FixedWindow(env.per_minute, 60_000), prefix=f"{env.prefix}-kit:minute")
        day = AsyncRedisBackend(client, FixedWindow(env.per_day, 86_400_000), prefix=f"{env.prefix}-kit:day")

        async def admits(tenant_id: str) -> bool:
            by_minute = await minute.check(tenant_id)
            return by_minute.allowed and (await day.check(tenant_id)).allowed

        return admits

    async with _opened(env, "kit", make) as app:
        yield app


@asynccontextmanager
async def open_slowapi(env: Env) -> AsyncIterator[ASGIApp]:
    """The middleware that it recommends for asyncio. Each request's two INCRs block the event loop."""
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.middleware import SlowAPIASGIMiddleware

    logging.getLogger("slowapi").setLevel(logging.ERROR)
    limiter = Limiter(
        key_func=lambda request: request.scope["state"]["tenant"]["id"],
        # One set of counters for the whole application, as all others have it.
        application_limits=[f"{env.per_minute}/minute;{env.per_day}/day"],
        storage_uri=env.redis_url,
        # It says that they are texts, and hands them to redis-py as they are.
        storage_options={"protocol": 2, "driver_info": None},  # type: ignore[dict-item]
        key_prefix=f"{env.prefix}-slowapi",
    )
    app = bare()
    app.state.limiter = limiter
    # Starlette's type wants a handler of any exception, for whichever one it is added.
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)  # type: ignore[arg-type]
    app.add_middleware(SlowAPIASGIMiddleware)
    async with connect(env) as (redis, postgres):
        yield LookupMiddleware(app, LocalLookup(redis, postgres, f"{env.prefix}-slowapi"))
