import os
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.testclient import TestClient
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis import asyncio as aioredis


@asynccontextmanager
async def lifespan(_):
    FastAPICache.init(RedisBackend(aioredis.from_url(os.environ["REDIS_URL"])), prefix="fastapi-cache")
    yield


app = FastAPI(lifespan=lifespan)


@cache()
async def get_cache(n: int):
    return n


@app.get("/")
@cache(expire=60)
async def index():
    return {"n": await get_cache(1)}


@app.get("/items/{item}")
@cache(namespace="items", expire=60)
async def item(item: int):
    return {"item": item}


with TestClient(app) as client:
    for number in (1, 2, 1):
        client.get("/")
        client.get(f"/items/{number}")
print("fastapi-cache", version("fastapi-cache2"))
