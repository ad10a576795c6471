import os
from contextlib import asynccontextmanager
from importlib.metadata import version

import redis.asyncio as redis
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from fastapi_limiter import FastAPILimiter
from fastapi_limiter.depends import RateLimiter


@asynccontextmanager
async def lifespan(_):
    connection = redis.from_url(os.environ["REDIS_URL"], encoding="utf8")
    await FastAPILimiter.init(connection)
    yield
    await FastAPILimiter.close()


app = FastAPI(lifespan=lifespan)


@app.get("/", dependencies=[Depends(RateLimiter(times=2, seconds=5))])
async def home():
    return {}


@app.get("/two", dependencies=[Depends(RateLimiter(times=1, seconds=5)), Depends(RateLimiter(times=9, minutes=1))])
async def two():
    return {}


with TestClient(app) as client:
    for _ in range(3):
        client.get("/")
        client.get("/two", headers={"X-Forwarded-For": "10.0.0.7"})
print("fastapi-limiter", version("fastapi-limiter"))
