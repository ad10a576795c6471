from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from redis_fastapi import FastAPIRedis, SessionDep, cache, cache_evict, rate_limit

app = FastAPI()
FastAPIRedis(app).lifespan().caching().rate_limiting().sessions()


@app.get("/products/{product}", dependencies=[Depends(cache(ttl=300, eviction_group="products"))])
async def product(product: int):
    return {"product": product}


@app.delete("/products/{product}", dependencies=[Depends(cache_evict(eviction_group="products"))])
async def delete(product: int):
    return {}


@app.get("/search", dependencies=[Depends(rate_limit("10/second", scope="search:burst"))])
async def search():
    return {}


@app.post("/login")
async def login(session: SessionDep):
    session["user_id"] = 42
    return {}


with TestClient(app, base_url="https://testserver", raise_server_exceptions=False) as client:
    for number in (1, 2, 1):
        client.get(f"/products/{number}")
        client.get("/search")
        client.post("/login")
    client.delete("/products/1")
print("fastapi-redis-sdk", version("fastapi-redis-sdk"))
