import asyncio
import os
from importlib.metadata import version

from cashews import cache

cache.setup(os.environ["REDIS_URL"])


@cache(ttl="10m")
async def get_user(user):
    return {"user": user}


@cache(ttl="10m", key="user:{user}")
async def get_named(user):
    return {"user": user}


@cache.early(ttl="10m", early_ttl="5m")
async def early(user):
    return {"user": user}


@cache.soft(ttl="10m", soft_ttl="5m")
async def soft(user):
    return {"user": user}


@cache.hit(ttl="10m", cache_hits=100, update_after=2)
async def hit(user):
    return {"user": user}


@cache.failover(ttl="10m")
async def failover(user):
    return {"user": user}


@cache.locked(ttl="1m")
async def locked(user):
    return {"user": user}


@cache.rate_limit(limit=10, period="1m")
async def limited(user):
    return {"user": user}


@cache.slice_rate_limit(limit=10, period="1m")
async def sliced(user):
    return {"user": user}


@cache.circuit_breaker(errors_rate=10, period="1m", ttl="1m", min_calls=1)
async def guarded(user):
    return {"user": user}


@cache(ttl="10m", key="tagged:{user}", tags=["users"])
async def tagged(user):
    return {"user": user}


async def main():
    for function in (get_user, get_named, early, soft, hit, failover, locked, limited, sliced, guarded, tagged):
        for user in ("alice", "bob", "alice"):
            await function(user)
    await cache.close()


asyncio.run(main())
print("cashews", version("cashews"))
