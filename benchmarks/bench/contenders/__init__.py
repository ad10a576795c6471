"""The contenders, and those that are left out and why.

Rules:

* Every contender is an ASGI app around the same endpoint, opened by `async with contender.open(env) as app`.
* Each is set up as its own documentation recommends and in its favour. That is the asyncio client if there is one,
  hiredis, fixed windows if there is a choice, and no headers unless its own middleware sends them.
* A library that only limits gets its tenant from `LocalLookup`, which costs it next to nothing.
* A contender that limits is timed only after it was seen to refuse the fourth request at a limit of three, in each
  window that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

from starlette.types import ASGIApp

from benchmarks.bench.contenders import bounds, fastapi_tenancy, lookups, ours, plain
from benchmarks.bench.contenders.fastapi_redis_sdk import open_fastapi_redis_sdk
from benchmarks.bench.contenders.guide import open_cashews, open_guide
from benchmarks.bench.contenders.limiters import (
    open_limits,
    open_pyrate_limiter,
    open_slowapi,
    open_throttled,
    open_throttlekit,
)
from benchmarks.bench.stores import Env

Job = Literal["nothing", "bound", "floor", "lookup", "both"]


@dataclass(frozen=True)
class Contender:
    """`job`: what it does for a request. "both" is lookup and limits, and "bound" is not even a floor: it only shows
    what a part of the job costs in any library. `on_redis`: whether a hot request asks Redis."""

    name: str
    job: Job
    on_redis: bool
    set_up: str
    open: Callable[[Env], AbstractAsyncContextManager[ASGIApp]]
    windows: tuple[str, ...] = ("minute", "day")

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("tenantcache")


BARE, FLOOR, OURS, QUIET = "Starlette alone", "the floor", "tenantcache", "tenantcache, no headers"
PASSING, FLOOR_WITHOUT = "a middleware that does nothing", "the floor, no header"
FLOOR_WITH_BOTH = "the floor, both headers"

CONTENDERS = (
    Contender(BARE, "nothing", False, "one route that answers two bytes", plain.open_bare),
    Contender(
        FLOOR, "floor", False, "ASGI middleware: a dict, an expiry, two decrements, one header", plain.open_floor
    ),
    Contender(
        PASSING, "bound", False, "ASGI middleware: awaits the application, and does nothing else", bounds.open_passing
    ),
    Contender(FLOOR_WITHOUT, "bound", False, "the floor, without its header", bounds.open_without_header),
    Contender(
        FLOOR_WITH_BOTH,
        "bound",
        False,
        "the floor with the two headers of tenantcache; seconds and policy are fixed",
        bounds.open_with_both,
    ),
    Contender(OURS, "both", False, "as it comes: both limits, both headers", ours.open_ours),
    Contender(QUIET, "both", False, "`TENANTCACHE_RATE_LIMIT_HEADERS=false`", ours.open_quiet),
    Contender(
        "the guide's pattern",
        "both",
        True,
        "GET of the tenant's JSON, then INCR of minute and day in one pipeline: 3 commands, 2 round trips",
        open_guide,
    ),
    Contender(
        "cashews",
        "both",
        True,
        "lookup by `@cache` with `client_side=True`, then INCR of minute and day in one pipeline",
        open_cashews,
    ),
    Contender(
        "limits",
        "both",
        True,
        '`limits.aio` FixedWindowRateLimiter, storage `implementation="redispy"`, one hit for each limit',
        open_limits,
    ),
    Contender(
        "slowapi",
        "both",
        True,
        "SlowAPIASGIMiddleware with `default_limits` of both windows; its Redis client is a blocking one",
        open_slowapi,
    ),
    Contender(
        "throttled-py",
        "both",
        True,
        "`throttled.asyncio`, fixed window, RedisStore, one for each limit",
        open_throttled,
    ),
    Contender(
        "pyrate-limiter",
        "both",
        True,
        "StateBucket with TokenBucket on RedisStateStore, both rates in one script",
        open_pyrate_limiter,
    ),
    Contender(
        "throttlekit-py", "both", True, "AsyncRedisBackend with FixedWindow, one for each limit", open_throttlekit
    ),
    Contender(
        "fastapi-redis-sdk",
        "both",
        True,
        "FastAPI with two stacked `rate_limit()` dependencies; its script, because INCREX needs Redis 8.8 "
        "(there it bills INCREX and PTTL for each limit)",
        open_fastapi_redis_sdk,
    ),
    Contender(
        "fastapi-tenancy, minutes only",
        "both",
        True,
        "TenancyMiddleware as below, `enable_rate_limiting=True`: one window, and no limit by day",
        fastapi_tenancy.open_limited,
        windows=("minute",),
    ),
    Contender("tenantcache, lookup only", "lookup", False, "`TENANTCACHE_LIMITS=off`", ours.open_lookup),
    Contender("cashews, lookup only", "lookup", False, "`@cache` with `client_side=True`", lookups.open_cashews),
    Contender(
        "fastapi-tenancy, lookup only",
        "lookup",
        False,
        "TenancyMiddleware, subdomains, SQLAlchemyTenantStore, `l1_cache_enabled=True`",
        fastapi_tenancy.open_lookup,
    ),
)

LEFT_OUT = {
    "fastapi-limiter": (
        "since 0.2 it is a FastAPI dependency around `pyrate_limiter.Limiter.try_acquire_async`, with one bucket for "
        "all keys of a Limiter, so that tenants would share one limit; pyrate-limiter itself takes part"
    ),
    "throttlekit-py's FleetBackend": (
        "it leases batches, but from a throttlekit-server (Node.js) over gRPC and not from Redis; its Redis backend "
        "takes part"
    ),
    "cashews' rate_limit": (
        "it decorates a function with one limit that is fixed at import; its lookup takes part, with counters by INCR"
    ),
}


def by_name(name: str) -> Contender:
    return next(contender for contender in CONTENDERS if contender.name == name)
