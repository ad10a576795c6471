import asyncio
import os
from importlib.metadata import version
from urllib.parse import urlsplit

from aiocache import Cache, cached, cached_stampede

PORT = urlsplit(os.environ["REDIS_URL"]).port
WHERE = {"cache": Cache.REDIS, "endpoint": "127.0.0.1", "port": PORT}


@cached(ttl=60, **WHERE)
async def get_user(user, *, full=False):
    return {"user": user}


@cached(ttl=60, **WHERE)
async def settings():
    return {"a": 1}


@cached_stampede(lease=2, ttl=60, **WHERE)
async def report(name):
    return name


async def main():
    for number in (1, 2, 1):
        await get_user(number)
        await get_user(number, full=True)
        await settings()
        await report("monthly")


asyncio.run(main())
print("aiocache", version("aiocache"))
